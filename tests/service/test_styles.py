"""Styles as resources: kept, made, listed, applied; bounded like everything else, and nobody else's."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import uuid

import grpc
import numpy as np
import pytest
from PIL import Image

from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.image_pb2 import IMAGE_FORMAT_JPEG
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.style_pb2 import StyleControls
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from tests.service.harness import Harness, eventually, fields, noise_photo, order, photo, reason, refusal
from tests.service.styles import style_file

PATIENCE_S = 30
_SEEDS = itertools.count(1000)


def fresh(text: str = "a scripted look", **changes: object) -> bytes:
    """A style that no other test has."""
    return style_file(text, next(_SEEDS), **changes)


def stub(server: Harness) -> StyleServiceStub:
    return StyleServiceStub(server.channel)


async def uploaded(server: Harness, text: str = "a scripted look") -> str:
    response = await stub(server).UploadStyle(pb.UploadStyleRequest(data=fresh(text)))
    return response.style.name


async def kept(server: Harness, text: str = "a scripted look") -> str:
    """Name of a finished job that has kept its style."""
    seed = next(_SEEDS)
    created = await server.create(order(text, options=StylizationOptions(keep_style=True, seed=seed)))
    await server.watch(created.name)
    return created.name


async def names(server: Harness, **fields: object) -> list[str]:
    listed, token = [], ""
    while True:
        page = await stub(server).ListStyles(pb.ListStylesRequest(page_size=1000, page_token=token, **fields))
        listed += [style.name for style in page.styles if not style.bundled]
        token = page.next_page_token
        if not token:
            return listed


def asked(style: str, *photos: bytes, **fields: object) -> list[pb.ApplyStyleRequest]:
    application = pb.StyleApplication(style=style, **fields)
    return [
        pb.ApplyStyleRequest(application=application),
        *(pb.ApplyStyleRequest(photo=pb.StylePhoto(image=data)) for data in photos),
    ]


async def applied(server: Harness, requests) -> dict[int, bytes | str]:
    """Apply a style; returns the bytes of each photo's result, or the reason why there is none."""
    results: dict[int, bytes | str] = {}
    announced: dict[int, bytes] = {}
    async for part in stub(server).ApplyStyle(requests, timeout=PATIENCE_S):
        assert part.ByteSize() <= 3 * 2**20
        match part.WhichOneof("part"):
            case "metadata":
                results[part.photo_index], announced[part.photo_index] = b"", part.metadata.sha256
            case "data":
                results[part.photo_index] += part.data
            case "error":
                results[part.photo_index] = part.error.reason
    for index, digest in announced.items():
        assert hashlib.sha256(results[index]).digest() == digest
    return results


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def negative(data: bytes) -> np.ndarray:
    return 255 - pixels(data)


async def test_a_style_is_made_of_a_finished_job_once(server):
    job = await kept(server, "a kept look")
    request = pb.CreateStyleRequest(stylization=job)
    style = (await stub(server).CreateStyle(request)).style
    assert (await stub(server).CreateStyle(request)).style == style
    assert style.style_text == "a kept look"
    assert (style.step_count, style.photo_count, style.size, style.bundled) == (3, 1, 64, False)
    assert Image.open(io.BytesIO(style.thumbnail)).format == "PNG"
    assert (await stub(server).GetStyle(pb.GetStyleRequest(name=style.name))).style == style
    assert (await names(server)).count(style.name) == 1
    await server.delete(job)  # the style stays
    data = b"".join([part.data async for part in stub(server).DownloadStyle(pb.DownloadStyleRequest(name=style.name))])
    assert style.name == f"styles/{hashlib.sha256(data).hexdigest()}"
    assert len(data) == style.size_bytes


async def test_a_job_that_kept_no_style_has_none(server):
    created = await server.create(order())
    await server.watch(created.name)
    status = await refusal(stub(server).CreateStyle(pb.CreateStyleRequest(stylization=created.name)))
    assert reason(status) == "STYLE_NOT_KEPT"
    unknown = f"stylizations/{uuid.uuid4()}"
    status = await refusal(stub(server).CreateStyle(pb.CreateStyleRequest(stylization=unknown)))
    assert reason(status) == "STYLIZATION_NOT_FOUND"
    status = await refusal(stub(server).CreateStyle(pb.CreateStyleRequest(stylization="x")))
    assert fields(status) == ["stylization"]


async def test_what_a_deleted_job_has_kept_is_gone(server):
    job = await kept(server)
    record = server.app.storage.database.get(job.rpartition("/")[2])
    assert server.app.storage.blobs.find(record.style)
    await server.delete(job)
    assert server.app.storage.blobs.find(record.style) is None


async def test_a_style_is_uploaded_listed_downloaded_and_deleted(server):
    data = fresh("an uploaded look")
    style = (await stub(server).UploadStyle(pb.UploadStyleRequest(data=data))).style
    assert (await stub(server).UploadStyle(pb.UploadStyleRequest(data=data))).style == style
    assert (await names(server)).count(style.name) == 1
    parts = [part.data async for part in stub(server).DownloadStyle(pb.DownloadStyleRequest(name=style.name))]
    assert b"".join(parts) == data
    await stub(server).DeleteStyle(pb.DeleteStyleRequest(name=style.name))
    for call in (
        stub(server).GetStyle(pb.GetStyleRequest(name=style.name)),
        stub(server).DeleteStyle(pb.DeleteStyleRequest(name=style.name)),
    ):
        assert reason(await refusal(call)) == "STYLE_NOT_FOUND"
    assert server.app.storage.blobs.find(style.name.rpartition("/")[2]) is None


async def test_pages_follow_each_other(server):
    mine = [await uploaded(server) for _ in range(3)]
    seen, token = [], ""
    while True:
        page = await stub(server).ListStyles(pb.ListStylesRequest(page_size=2, page_token=token))
        assert len(page.styles) <= 2
        assert not any(style.thumbnail for style in page.styles)
        seen += [style.name for style in page.styles if not style.bundled]
        token = page.next_page_token
        if not token:
            break
    assert seen == await names(server)
    assert [name for name in seen if name in mine] == mine[::-1]
    status = await refusal(stub(server).ListStyles(pb.ListStylesRequest(page_token="x", page_size=1)))
    assert fields(status) == ["page_token"]
    status = await refusal(stub(server).ListStyles(pb.ListStylesRequest(page_size=-1)))
    assert fields(status) == ["page_size"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "huge"])
async def test_a_damaged_file_is_refused(server, damage):
    data = bytearray(fresh())
    match damage:
        case "flipped":
            data[len(data) // 2] ^= 1
        case "cut":
            del data[-1]
        case "empty":
            data.clear()
        case "huge":
            data += bytes(5 * 2**20)
    before = await names(server)
    status = await refusal(stub(server).UploadStyle(pb.UploadStyleRequest(data=bytes(data))))
    assert (reason(status), fields(status)) == ("INVALID_FIELD", ["data"])
    assert await names(server) == before


@pytest.mark.parametrize("name", ["", "styles/", "styles/" + "A" * 64, "styles/../../etc", "stylizations/" + "0" * 64])
async def test_a_name_of_another_form_is_refused(server, name):
    for call in (
        stub(server).GetStyle(pb.GetStyleRequest(name=name)),
        stub(server).DeleteStyle(pb.DeleteStyleRequest(name=name)),
    ):
        assert fields(await refusal(call)) == ["name"]


async def test_photos_are_answered_in_their_order(server):
    photos = [noise_photo(90, 60), photo(200, 100), photo(64, 64, "JPEG")]
    style = await uploaded(server, "tiles=2 a look")
    results = await applied(server, iter(asked(style, *photos)))
    assert list(results) == [0, 1, 2]
    for index, data in enumerate(photos):
        assert (pixels(results[index]) == negative(data)).all()
    assert server.metric("style_application_seconds_count", outcome="succeeded") == 3


async def test_each_photo_is_answered_before_the_next_one_is_read(server):
    style = await uploaded(server)
    call = stub(server).ApplyStyle(timeout=PATIENCE_S)
    first, one = asked(style, photo(90, 60))
    await call.write(first)
    for index in range(3):
        await call.write(one)
        kinds = [(await call.read()).WhichOneof("part") for _ in range(2)]
        assert kinds == ["metadata", "data"], index
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_photo_that_cannot_be_used_does_not_end_the_call(server):
    style = await uploaded(server)
    results = await applied(server, iter(asked(style, photo(90, 60), b"no image", photo(80, 60))))
    assert results[1] == "INVALID_FIELD"
    assert (pixels(results[2]) == negative(photo(80, 60))).all()
    requests = [*asked(style), pb.ApplyStyleRequest(photo=pb.StylePhoto()), *asked(style, photo())[1:]]
    results = await applied(server, iter(requests))
    assert results[0] == "INVALID_FIELD"
    assert isinstance(results[1], bytes)


async def test_an_upload_is_applied_to_as_well(server):
    style, upload = await uploaded(server), await server.upload(noise_photo(300, 200))
    requests = [*asked(style), pb.ApplyStyleRequest(photo=pb.StylePhoto(upload=upload))]
    results = await applied(server, iter(requests))
    assert (pixels(results[0]) == negative(noise_photo(300, 200))).all()
    requests[1].photo.upload = "uploads/" + "0" * 64
    assert (await applied(server, iter(requests)))[0] == "INVALID_FIELD"


async def test_output_size_and_format_are_as_asked_for(server):
    how = {"controls": StyleControls(output_size=100), "result_format": IMAGE_FORMAT_JPEG}
    results = await applied(server, iter(asked(await uploaded(server), noise_photo(300, 200), **how)))
    image = Image.open(io.BytesIO(results[0]))
    assert (image.size, image.format) == ((100, 67), "JPEG")


async def test_every_bad_field_is_named(server):
    controls = StyleControls(strength=3, preserve_color=-1, mix=0.5, output_size=100_000)
    requests = asked("styles/x", second_style="", controls=controls, result_format=77)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, iter(requests))
    names_of = [
        "style",
        "controls.strength",
        "controls.preserve_color",
        "controls.output_size",
        "controls.mix",
        "result_format",
    ]
    status = await refusal(_raised(error.value))
    assert sorted(fields(status)) == sorted(f"application.{name}" for name in names_of)


async def _raised(error: Exception) -> None:
    raise error


async def test_the_application_comes_first_and_once(server):
    style = await uploaded(server)
    how, one = asked(style, photo())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, iter([one, how]))
    assert fields(await refusal(_raised(error.value))) == ["application"]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, iter([]))
    assert fields(await refusal(_raised(error.value))) == ["application"]
    assert (await applied(server, iter([how, how, one])))[0] == "INVALID_FIELD"


async def test_an_unknown_style_is_not_found(server):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, iter(asked("styles/" + "0" * 64, photo())))
    assert reason(await refusal(_raised(error.value))) == "STYLE_NOT_FOUND"


async def test_applying_does_not_wait_for_a_stylization(server, gate):
    style = await uploaded(server)
    running = await server.create(order(f"hold={gate} at=1 x"))
    await eventually(lambda: server.app.scheduler.running)
    results = await applied(server, iter(asked(style, photo(90, 60))))
    assert (pixels(results[0]) == negative(photo(90, 60))).all()
    assert server.app.scheduler.running
    gate.touch()
    assert (await server.watch(running.name)).kinds()[-1] == "result"


async def rendered(server: Harness, **fields: object) -> bytes:
    parts = [part async for part in stub(server).RenderStyle(pb.RenderStyleRequest(**fields), timeout=PATIENCE_S)]
    data = b"".join(part.data for part in parts[1:])
    assert hashlib.sha256(data).digest() == parts[0].metadata.sha256
    return data


async def test_one_photo_is_rendered_in_one_call(server):
    style, data = await uploaded(server), noise_photo(120, 90)
    result = await rendered(server, application=pb.StyleApplication(style=style), photo=pb.StylePhoto(image=data))
    assert (pixels(result) == negative(data)).all()


async def test_a_finished_job_is_rendered_once_more(server):
    job = await kept(server)
    assert (pixels(await rendered(server, stylization=job)) == negative(photo())).all()
    other = noise_photo(70, 70)
    result = await rendered(server, stylization=job, photo=pb.StylePhoto(image=other))
    assert (pixels(result) == negative(other)).all()


async def test_what_is_missing_for_rendering_is_named(server):
    async def refused(**fields: object):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rendered(server, **fields)
        return await refusal(_raised(error.value))

    style = await uploaded(server)
    assert fields(await refused()) == ["application.style", "photo"]
    job = f"stylizations/{uuid.uuid4()}"
    mixed = pb.StyleApplication(controls={"strength": 3})
    worst = await refused(application=mixed, stylization="zz", photo=pb.StylePhoto(upload="zz"))
    assert fields(worst) == ["application.controls.strength", "stylization", "photo.upload"]
    assert fields(await refused(application=pb.StyleApplication(style=style))) == ["photo"]
    both = {"application": pb.StyleApplication(style=style), "stylization": job}
    assert fields(await refused(**both)) == ["stylization"]
    bad = {"application": pb.StyleApplication(style=style), "photo": pb.StylePhoto(image=b"x")}
    assert fields(await refused(**bad)) == ["photo"]
    bad["photo"] = pb.StylePhoto(upload=await server.upload(b"x"))
    assert fields(await refused(**bad)) == ["photo.upload"]


async def test_a_call_that_ends_stops_its_photo_and_leaves_nothing(server):
    style = await uploaded(server, "busy=1 a look")
    call = stub(server).ApplyStyle(iter(asked(style, photo(90, 60))), timeout=PATIENCE_S)
    reading = asyncio.create_task(call.read())
    await eventually(lambda: server.app.lane.in_work == 1 and server.app.optimizers.workers[0]._applying)
    call.cancel()
    await asyncio.wait([reading])
    await eventually(lambda: server.app.lane.in_work == 0)
    assert not server.app.optimizers.workers[0]._applying
    spool = server.app.settings.spool_path
    assert not [path for path in spool.iterdir() if path.name.startswith("style")]
    assert await applied(server, iter(asked(await uploaded(server), photo())))  # the lane is free again


async def test_the_deadline_of_a_call_stops_its_photo(server):
    style = await uploaded(server, "busy=1 a look")
    fields = {"application": pb.StyleApplication(style=style), "photo": pb.StylePhoto(image=photo())}
    call = stub(server).RenderStyle(pb.RenderStyleRequest(**fields), timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        [part async for part in call]
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: server.app.lane.in_work == 0)


async def test_a_failure_ends_the_call_and_not_the_worker(server):
    status = None
    for text, expected in (("fail=1 x", "INTERNAL"), ("oom=1 x", "OUT_OF_MEMORY")):
        style = await uploaded(server, text)
        fields = {"application": pb.StyleApplication(style=style), "photo": pb.StylePhoto(image=photo())}
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rendered(server, **fields)
        status = await refusal(_raised(error.value))
        assert reason(status) == expected
    assert server.app.optimizers.workers[0].restarts == 0


async def test_a_crash_fails_the_photo_and_the_next_call_works(serve):
    server = await serve()
    style = await uploaded(server, "die=1 x")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, iter(asked(style, photo())))
    assert reason(await refusal(_raised(error.value))) == "WORKER_CRASHED"
    await asyncio.wait_for(server.app.ready(), PATIENCE_S)
    assert await applied(server, iter(asked(await uploaded(server), photo())))
    await eventually(lambda: server.app.lane.in_work == 0)


async def test_many_calls_share_the_lane(server):
    style = await uploaded(server, "step=0.01 a look")
    calls = [applied(server, iter(asked(style, photo(60 + n, 60)))) for n in range(12)]
    results = await asyncio.gather(*calls)
    for n, result in enumerate(results):
        assert (pixels(result[0]) == negative(photo(60 + n, 60))).all()
    await eventually(lambda: server.app.lane.in_work == 0)


async def test_styles_count_as_stored_and_make_room(serve):
    size = len(style_file()) + 9000
    server = await serve(retention_bytes=int(2.5 * size), caller_share=1)
    first, second = await uploaded(server), await uploaded(server)
    await applied(server, iter(asked(first, photo())))  # used again: the other one is older now
    third = await uploaded(server)
    assert sorted(await names(server)) == sorted([first, third])
    assert second not in await names(server)


async def test_a_worker_that_was_idle_for_long_is_not_taken_for_hung(serve):
    server = await serve(stall_timeout_s=0.3)
    style = await uploaded(server, "tiles=3 step=0.05 a look")
    await asyncio.sleep(0.5)
    assert await applied(server, iter(asked(style, photo())))
    assert server.app.optimizers.workers[0].restarts == 0


async def test_a_style_survives_a_restart(serve):
    server = await serve()
    style, job = await uploaded(server), await kept(server)
    await server.stop(keep=True)
    again = await serve(data_dir=server.app.settings.data_dir)
    assert style in await names(again)
    assert (await stub(again).CreateStyle(pb.CreateStyleRequest(stylization=job))).style.name in await names(again)
    assert await applied(again, iter(asked(style, photo())))


@pytest.mark.parametrize("which", ["style", "second_style"])
async def test_a_style_that_was_damaged_on_the_disk_is_refused_by_its_name(server, which):
    styles = {"style": await uploaded(server), "second_style": await uploaded(server)}
    path, _ = server.app.storage.blobs.find(styles[which].rpartition("/")[2])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, iter(asked(styles["style"], photo(), second_style=styles["second_style"])))
    status = await refusal(_raised(error.value))
    assert (reason(status), styles[which] in status.message) == ("STORAGE_DAMAGED", True)


@pytest.mark.parametrize("which", ["style", "second_style"])
async def test_a_style_that_is_deleted_while_it_is_applied_is_not_found(server, which):
    styles = {"style": await uploaded(server), "second_style": await uploaded(server)}
    how, one = asked(styles["style"], photo(), second_style=styles["second_style"])

    async def requests():
        yield how
        yield one
        await eventually(lambda: server.metric("style_application_seconds_count", outcome="succeeded"))
        await stub(server).DeleteStyle(pb.DeleteStyleRequest(name=styles[which]))
        yield one

    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, requests())
    status = await refusal(_raised(error.value))
    assert (reason(status), status.message) == ("STYLE_NOT_FOUND", f"there is no {styles[which]}")


async def test_a_draining_server_takes_no_photos(serve):
    server = await serve()
    style = await uploaded(server)
    server.app.scheduler.close()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await applied(server, iter(asked(style, photo())))
    assert reason(await refusal(_raised(error.value))) == "DRAINING"


async def test_a_style_of_a_newer_version_is_refused_by_its_number(server):
    data = fresh()
    newer = data.replace(rb"\"version\":1", rb"\"version\":2")
    assert newer != data
    status = await refusal(stub(server).UploadStyle(pb.UploadStyleRequest(data=newer)))
    assert (reason(status), fields(status)) == ("INVALID_FIELD", ["data"])
    assert "format version 2, and this program reads 1" in status.message


async def test_a_style_of_other_encoders_needs_none_of_them(server):
    data = fresh(encoder_set="not-loaded-here")
    style = (await stub(server).UploadStyle(pb.UploadStyleRequest(data=data))).style
    assert style.encoder_set == "not-loaded-here"
    assert (pixels((await applied(server, iter(asked(style.name, photo()))))[0]) == negative(photo())).all()


async def test_ten_thousand_photos_are_read_at_the_pace_of_the_drawing(server):
    style, read = await uploaded(server), 0
    how, one = asked(style, noise_photo(150, 100))

    async def photos():
        nonlocal read
        yield how
        for _ in range(10_000):
            read += 1
            yield one

    call = stub(server).ApplyStyle(photos(), timeout=PATIENCE_S)
    for _ in range(20):
        assert [(await call.read()).WhichOneof("part") for _ in range(2)] == ["metadata", "data"]
    assert read < 20 + 60  # what the connection holds of photos of 45 kB
    call.cancel()
    await eventually(lambda: server.app.lane.in_work == 0)
