"""Results at the size of the photo: drawn from the stored photo, through files, and stopped within a tile."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

import numpy as np
from clipstyler_server.storage.storage import unavailable_error
from clipstyler_server.workers.decoder.client import ImageDecoder
from PIL import Image

from clipstyler.imaging import ImageError
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import eventually, fields, noise_photo, order, photo, request


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def sized(**options: int) -> dict[str, StylizationOptions]:
    return {"options": StylizationOptions(**options)}


def spooled(server) -> list[Path]:
    directory = server.app.settings.spool_path
    return list(directory.iterdir()) if directory.exists() else []


async def nothing_is_spooled(server) -> None:
    await eventually(lambda: not spooled(server))


async def test_the_result_is_drawn_from_the_photo_at_its_own_size(server):
    outcome = await server.stylize(request("tiles=2 x", image=photo(300, 200)))

    result = outcome.result
    assert (result.result.image.width_px, result.result.image.height_px) == (300, 200)
    assert np.array_equal(pixels(result.image_data), 255 - pixels(photo(300, 200)))
    assert (result.spec.options.size, result.spec.options.output_size) == (64, 300)
    tiles = [(drawn.tile, drawn.tiles) for drawn in outcome.only("rendering")]
    assert tiles
    assert tiles == sorted(tiles)
    assert set(tiles) <= {(0, 2), (1, 2), (2, 2)}
    kinds = [kind for kind in outcome.kinds() if kind != "heartbeat"]
    assert kinds.index("rendering") > len(kinds) - 1 - kinds[::-1].index("progress")
    await nothing_is_spooled(server)


async def test_previews_stay_small(server):
    outcome = await server.stylize(request("tiles=1 x", image=photo(300, 200)))
    assert {(preview.image.width_px, preview.image.height_px) for preview in outcome.only("preview")} == {(64, 43)}


async def test_alpha_reaches_a_result_at_full_size(server):
    buffer = io.BytesIO()
    clear = Image.linear_gradient("L").resize((120, 90))
    Image.merge("RGBA", (clear, clear, clear, clear)).save(buffer, "PNG")
    outcome = await server.stylize(request("tiles=1 x", image=buffer.getvalue()))
    assert np.array_equal(pixels(outcome.result.image_data)[..., 3], np.asarray(clear))


async def test_an_output_size_may_be_smaller_than_the_photo_and_larger_if_it_is_enlarged(server):
    data = photo(300, 200)
    for options, expected in (
        ({"output_size": 150}, (150, 100)),
        ({"output_size": 600}, (300, 200)),
        ({"output_size": 600, "enlarge": True}, (600, 400)),
    ):
        image = (await server.stylize(request("tiles=1 x", image=data, **sized(**options)))).result.result.image
        assert (image.width_px, image.height_px) == expected


async def test_a_photo_smaller_than_the_output_size_keeps_its_size_with_a_warning(server):
    outcome = await server.stylize(request("tiles=1 x", **sized(output_size=100)))
    assert outcome.result.result.image.width_px == 96
    assert [warning.code for warning in outcome.only("warning")] == ["PHOTO_SMALLER_THAN_SIZE"]


async def test_a_bad_output_size_is_refused_by_its_field(server):
    limit = server.app.settings.max_output_size
    for bad in (-1, limit + 1):
        status = (await server.stylize(request(**sized(output_size=bad)))).status
        assert fields(status) == ["spec.options.output_size"]
        assert f"at most {limit}" in status.message
    assert (await server.info()).limits.max_output_size == limit


async def test_results_of_larger_photos_are_limited_with_a_warning(serve):
    server = await serve(max_output_size=80)
    outcome = await server.stylize(request("tiles=1 x"))
    assert (outcome.result.result.image.width_px, outcome.result.spec.options.output_size) == (80, 80)
    assert [warning.code for warning in outcome.only("warning")] == ["OUTPUT_LIMITED"]


async def test_a_result_that_would_take_too_much_memory_is_refused_by_its_field(serve):
    server = await serve(max_job_memory_bytes=640 * 2**20)
    status = (await server.stylize(request(image=noise_photo(2048, 2048, "JPEG")))).status
    assert fields(status) == ["spec.options.output_size"]
    smaller = request(image=noise_photo(2048, 2048, "JPEG"), **sized(output_size=512))
    assert (await server.stylize(smaller)).status is None


async def test_a_cancel_stops_within_one_tile(server, tmp_path):
    trace = tmp_path / "trace"
    job = await server.create(order(f"tiles=500 step=0.02 trace={trace}"))
    await eventually(lambda: trace.exists() and trace.read_text().count("tile") >= 3)
    await server.cancel(job.name)
    begun = trace.read_text().count("tile")
    await eventually(lambda: "closed" in trace.read_text())
    assert trace.read_text().count("tile") <= begun + 5  # generous: the cancel has to travel first
    assert (await server.watch(job.name)).kinds()[-1] == "cancelled"
    await nothing_is_spooled(server)


async def test_a_deadline_is_met_within_one_tile(server, tmp_path):
    trace = tmp_path / "trace"
    begun = time.monotonic()
    asked = order(f"tiles=500 step=0.02 trace={trace}")
    asked.timeout.FromMilliseconds(500)
    job = await server.create(asked)
    assert (await server.watch(job.name)).only("failed")[0].error.reason == "DEADLINE_EXCEEDED"
    assert time.monotonic() - begun < 5
    assert 0 < trace.read_text().count("tile") < 500
    await nothing_is_spooled(server)


async def test_a_cancel_ends_the_wait_for_the_photo(server, monkeypatch):
    extracting = asyncio.Event()

    async def never(*_: object) -> None:
        extracting.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(ImageDecoder, "extract", never)
    job = await server.create(order("tiles=1 x"))
    await asyncio.wait_for(extracting.wait(), 30)
    await eventually(lambda: server.running and server.running.step == 3)
    await server.cancel(job.name)
    assert (await server.watch(job.name)).kinds()[-1] == "cancelled"


async def test_a_photo_that_cannot_be_decoded_again_fails_its_job_by_its_field(server, monkeypatch):
    async def broken(*_: object) -> None:
        raise ImageError("the image crashes the decoder")

    monkeypatch.setattr(ImageDecoder, "extract", broken)
    error = (await server.stylize(request("tiles=1 x"))).only("failed")[0].error
    assert (error.reason, error.field_violations[0].field) == ("INVALID_FIELD", "spec.image")


async def test_the_photo_is_fetched_while_the_steps_are_made(server, gate):
    job = await server.create(order(f"hold={gate} tiles=1 x", image=photo(301, 200)))
    await eventually(lambda: [path.stat().st_size for path in spooled(server)] == [3 * 301 * 200])
    assert server.running.step < 3
    gate.touch()
    assert (await server.watch(job.name)).kinds()[-1] == "result"
    await nothing_is_spooled(server)


async def test_a_disk_that_is_full_when_a_result_is_written_fails_that_job_only(server):
    directory = server.app.settings.spool_path
    await nothing_is_spooled(server)
    if directory.exists():
        directory.rmdir()
    directory.write_bytes(b"")  # nothing can be written there
    error = (await server.stylize(request())).only("failed")[0].error
    directory.unlink()
    assert error.reason == "STORAGE_UNAVAILABLE"
    assert (await server.stylize(request())).status is None


async def test_a_job_that_is_resumed_has_its_result_at_the_size_it_was_accepted_with(serve, gate, monkeypatch):
    monkeypatch.setattr("clipstyler_server.jobs.scheduler._STOP_WAIT_S", 0.3)  # the step that is held never ends
    first = await serve()
    job = await first.create(order(f"hold={gate} tiles=1 x", image=photo(300, 200)))
    assert job.spec.options.output_size == 300
    await eventually(lambda: first.app.scheduler.running)
    await first.stop(keep=True)
    spool = first.app.settings.spool_path
    spool.mkdir(exist_ok=True)
    (spool / "left").write_bytes(b"by a crash")
    second = await serve(data_dir=first.app.settings.data_dir, max_output_size=100)
    gate.touch()
    result = (await second.watch(job.name)).result.result
    assert (result.image.width_px, result.image.height_px) == (300, 200)
    assert (await second.get(job.name)).state == Stylization.STATE_SUCCEEDED
    await nothing_is_spooled(second)


async def test_a_large_result_does_not_stop_the_event_loop(server):
    """Its bytes are moved on the disk, not through the front process."""
    longest, begun = 0.0, time.monotonic()
    finished = asyncio.create_task(server.watch((await server.create(order("side=3000 x"))).name))
    while not finished.done():
        before = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - before)
    outcome = await finished
    assert outcome.result.result.image.size_bytes > 20 * 2**20
    assert longest < 1, f"{longest:.2f} s of {time.monotonic() - begun:.2f} s"


async def test_a_storage_error_while_the_photo_is_fetched_is_not_the_photos_fault(server, monkeypatch):
    async def unavailable(*_: object) -> None:
        raise unavailable_error()

    monkeypatch.setattr(ImageDecoder, "extract", unavailable)
    error = (await server.stylize(request("tiles=1 x"))).only("failed")[0].error
    assert error.reason == "STORAGE_UNAVAILABLE"
