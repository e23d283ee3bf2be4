"""Regions in the service: masks are stored with their jobs, decoded apart, and refused by their fields."""

from __future__ import annotations

import hashlib
import io
import os
import time

import numpy as np
import pytest
from clipstyler_server.jobs.job_request import JobRequest, PhotoRequest
from clipstyler_server.workers.decoder.client import ImageDecoder
from PIL import Image

from clipstyler.imaging import ImageError, decode_fitted
from clipstyler.region import RegionRequest
from clipstyler.spec import SpecRequest
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.region_pb2 import Region
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import eventually, fields, noise_photo, order, photo, reason, refusal, request

LEFT = Region.Box(x=0, y=0, relative_width=0.5, relative_height=1)


def mask(width: int = 96, height: int = 64, share: float = 0.5) -> bytes:
    """White on the left."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, : round(share * width)] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def sized(**options: object) -> dict[str, StylizationOptions]:
    return {"options": StylizationOptions(**options)}


def files(server) -> set[str]:
    return {path.name for path in (server.app.settings.data_path / "images").rglob("*") if path.is_file()}


async def nothing_is_spooled(server) -> None:
    directory = server.app.settings.spool_path
    await eventually(lambda: not directory.exists() or not list(directory.iterdir()))


@pytest.mark.parametrize("output_size", [0, 64, 40])
async def test_what_a_mask_covers_stays_at_any_size_of_the_result(server, output_size):
    data = noise_photo(96, 64)
    asked = request(
        "tiles=1 x", image=data, region=Region(mask=mask(192, 128), feather=0), **sized(output_size=output_size)
    )
    result = (await server.stylize(asked)).result
    shown = decode_fitted(data, output_size or 96).rgb
    found, middle = pixels(result.image_data), shown.shape[1] // 2
    assert found.shape == shown.shape
    assert np.array_equal(found[:, :middle], shown[:, :middle])
    assert np.array_equal(found[:, middle + 1 :], 255 - shown[:, middle + 1 :])
    await nothing_is_spooled(server)


async def test_boxes_need_no_mask_and_a_text_replaces_the_photo(server):
    region = Region(boxes=[LEFT], text="gold", feather=0)
    result = (await server.stylize(request("tiles=1 x", region=region))).result
    assert (pixels(result.image_data)[:, :48] == 0).all()
    assert np.array_equal(pixels(result.image_data)[:, 48:], 255 - pixels(photo())[:, 48:])
    assert result.spec.region == Region(boxes=[LEFT], text="gold", feather=0)


async def test_a_resolved_spec_has_the_digest_of_the_mask_instead_of_its_bytes(server):
    job = await server.create(order(region=Region(mask=mask(), boxes=[LEFT])))
    digest = hashlib.sha256(mask()).hexdigest()
    expected = Region(boxes=[LEFT], feather=0.01, mask_digest=digest)
    assert job.spec.region == expected
    assert (await server.watch(job.name)).result.spec.region == expected
    assert (await server.get(job.name)).spec.region == expected
    assert not (await server.get((await server.create(order())).name)).spec.HasField("region")


async def test_an_uploaded_mask_is_one_that_came_with_the_request(server):
    upload = await server.upload(mask())
    asked = order("tiles=1 x", region=Region(mask=mask()))
    first = await server.create(asked)
    asked.spec.region.upload = upload
    assert (await server.create(asked)).name == first.name
    asked.request_id = ""
    second = await server.create(asked)
    images = [(await server.watch(job.name)).result.image_data for job in (first, second)]
    assert images[0] == images[1]


@pytest.mark.parametrize(
    "other",
    [Region(mask=mask(share=0.4)), Region(mask=mask(), feather=0.02), Region(mask=mask(), text="gold"), None],
)
async def test_another_region_is_another_request(server, other):
    asked = order(region=Region(mask=mask()))
    await server.watch((await server.create(asked)).name)
    asked.spec.ClearField("region")
    if other:
        asked.spec.region.CopyFrom(other)
    assert reason(await refusal(server.create(asked))) == "REQUEST_ID_REUSED"


def test_a_request_without_a_region_has_the_digest_that_it_had_before_there_were_regions():
    spec = SpecRequest("fire", None, {"size": 64, "seed": 1}, {"every_steps": 5}, "png")
    digest = JobRequest(spec, PhotoRequest(b"photo", ""), 2, 5.0).digest()
    assert digest == "e1a69645157ed11cb76d6756c5a5827341ace24441a6c6fe0dc4efa87194dc59"
    with_region = SpecRequest("fire", None, {"size": 64, "seed": 1}, {"every_steps": 5}, "png", RegionRequest(True))
    assert (
        JobRequest(with_region, PhotoRequest(b"photo", ""), 2, 5.0, mask=PhotoRequest(b"mask", "")).digest() != digest
    )


async def test_every_bad_field_is_named_at_once_before_any_work(server):
    region = Region(
        mask=b"no image",
        boxes=[LEFT, Region.Box(x=0.6, relative_width=0.6, relative_height=1)],
        text="a scripted look",
        feather=0.5,
    )
    status = (await server.stylize(request(image=b"no image either", region=region, **sized(steps=-1)))).status
    assert sorted(fields(status)) == [
        "spec.image",
        "spec.options.steps",
        "spec.region.boxes[1]",
        "spec.region.feather",
        "spec.region.mask",
        "spec.region.text",
    ]


async def test_a_bad_photo_and_a_bad_mask_are_both_named(server):
    bad = request(image=b"no image", region=Region(mask=b"no image either"))
    assert fields((await server.stylize(bad)).status) == ["spec.image", "spec.region.mask"]
    unknown = "uploads/" + "0" * 64
    missing = request(upload=unknown, region=Region(upload=unknown))
    assert fields((await server.stylize(missing)).status) == ["spec.upload", "spec.region.upload"]
    stored = await server.upload(b"no image")
    unreadable = request(upload=stored, region=Region(upload=stored))
    assert fields((await server.stylize(unreadable)).status) == ["spec.upload", "spec.region.upload"]
    assert fields((await server.stylize(request(region=Region(upload=stored)))).status) == ["spec.region.upload"]


@pytest.mark.parametrize(
    ("region", "field", "words"),
    [
        (Region(), "mask", "give a mask, or boxes"),
        (Region(text="gold"), "text", "there is no region"),
        (Region(mask=b""), "mask", "empty"),
        (Region(mask=mask(64, 96)), "mask", "turned"),
        (Region(mask=mask(96, 80)), "mask", "another shape"),
        (Region(mask=mask(share=0)), "mask", "covers no pixel"),
        (Region(mask=mask(share=1)), "mask", "nothing is left"),
        (Region(boxes=[Region.Box(relative_width=1, relative_height=1)], text="gold"), "boxes", "whole photo"),
        (Region(upload="../lock"), "upload", "UploadImage"),
        (Region(upload=""), "upload", "UploadImage"),
        (Region(upload="uploads/" + "1" * 64), "upload", "upload it again"),
    ],
)
async def test_a_region_that_cannot_be_used_is_refused_by_its_field(server, region, field, words):
    before = files(server)
    status = await refusal(server.create(order(region=region)))
    assert fields(status) == [f"spec.region.{field}"]
    assert words in status.message
    assert files(server) == before


async def test_crops_that_do_not_fit_into_the_rest_are_refused_by_their_field(server):
    narrow = Region(boxes=[Region.Box(relative_width=0.95, relative_height=1)])
    status = await refusal(server.create(order(region=narrow, **sized(crop_size=40))))
    assert fields(status) == ["spec.options.crop_size"]
    assert (await server.create(order(region=narrow))).spec.options.crop_size == 11


async def test_a_mask_counts_in_bytes_and_goes_with_the_last_job_that_has_it(serve):
    server = await serve()
    database, digest = server.app.storage.database, hashlib.sha256(mask()).hexdigest()
    plain = await server.create(order())
    jobs = [await server.create(order(region=Region(mask=mask()))) for _ in range(2)]
    for job in (plain, *jobs):
        await server.watch(job.name)
    counted = [database.get(job.name.rpartition("/")[2]).stored_bytes for job in (plain, jobs[0])]
    assert counted[1] - counted[0] == len(mask())

    for path in (server.app.settings.data_path / "images").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 100, time.time() - 100))
    await server.app.retention.enforce()
    assert digest in files(server)
    await server.delete(jobs[0].name)
    assert digest in files(server)
    await server.delete(jobs[1].name)
    assert digest not in files(server)


async def test_a_job_is_run_again_with_its_mask_after_a_restart(serve, gate, monkeypatch):
    monkeypatch.setattr("clipstyler_server.jobs.scheduler._STOP_WAIT_S", 0.3)  # the step that is held never ends
    first = await serve()
    region = Region(mask=mask(), feather=0)
    asked = order(f"hold={gate} tiles=1 x", region=region)
    job = await first.create(asked)
    await eventually(lambda: first.app.scheduler.running)
    await first.stop(keep=True)
    second = await serve(data_dir=first.app.settings.data_dir)
    gate.touch()
    result = (await second.watch(job.name)).result
    assert np.array_equal(pixels(result.image_data)[:, :48], pixels(photo())[:, :48])
    assert (pixels(result.image_data)[:, 48:] == 255 - pixels(photo())[:, 48:]).all()
    assert (await second.get(job.name)).state == Stylization.STATE_SUCCEEDED
    assert (await second.create(asked)).name == job.name


async def test_a_mask_that_cannot_be_decoded_again_fails_its_job(server, monkeypatch):
    async def broken(*_: object) -> None:
        raise ImageError("the mask crashes the decoder")

    monkeypatch.setattr(ImageDecoder, "extract_mask", broken)
    error = (await server.stylize(request("tiles=1 x", region=Region(mask=mask())))).only("failed")[0].error
    assert error.reason == "INVALID_FIELD"
    assert "the mask crashes the decoder" in error.message


async def test_masks_obey_the_limits_of_photos(serve):
    server = await serve(max_image_bytes=2000)
    large = noise_photo(96, 64)
    assert len(large) > 2000
    status = await refusal(server.create(order(region=Region(mask=large))))
    assert fields(status) == ["spec.region.mask"]
    assert "more than the limit of 2000" in status.message
