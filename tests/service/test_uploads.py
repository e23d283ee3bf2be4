"""Uploads in parts, checked against their header; and retention."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import time

import pytest
from google.rpc import error_details_pb2
from PIL import Image

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2 import UploadImageRequest
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.service.harness import details, fields, noise_photo, order, photo, reason, refusal, request
from tests.service.relay import relayed


def header(data: bytes) -> UploadImageRequest:
    return UploadImageRequest(
        header=UploadImageRequest.Header(size_bytes=len(data), sha256=hashlib.sha256(data).digest())
    )


def announced(size: int, sha256: bytes = bytes(32)) -> UploadImageRequest:
    return UploadImageRequest(header=UploadImageRequest.Header(size_bytes=size, sha256=sha256))


def pieces(data: bytes, size: int = 100_000) -> list[UploadImageRequest]:
    return [UploadImageRequest(data=data[start : start + size]) for start in range(0, len(data), size)]


async def upload(server, parts: list[UploadImageRequest]):
    return await server.stub.UploadImage(iter(parts), timeout=30)


async def test_an_uploaded_photo_is_stylized_as_one_that_came_with_the_request(server):
    data = noise_photo(700, 500)
    assert len(pieces(data)) > 5
    uploaded = await upload(server, [header(data), *pieces(data)])
    assert uploaded.expire_time.seconds > time.time() + 3000

    created = await server.create(order("from upload", upload=uploaded.upload))
    from_upload = (await server.watch(created.name)).result
    one_shot = await server.stylize(request("from upload", upload=uploaded.upload))
    direct = await server.stylize(request("from upload", image=data))
    assert from_upload.image_data == direct.result.image_data == one_shot.result.image_data
    assert (await server.image(created.name, Stylization.IMAGE_KIND_CONTENT))[1] == data


async def test_the_same_request_may_bring_its_photo_either_way(server):
    data = photo()
    uploaded = await upload(server, [header(data), *pieces(data)])
    asked = order(image=data)
    first = await server.create(asked)
    asked.spec.upload = uploaded.upload
    assert (await server.create(asked)).name == first.name
    await server.watch(first.name)


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("header", []),
        ("header", pieces(photo())),
        ("header", [header(photo()), header(photo())]),
        ("header.size_bytes", [announced(2**40)]),
        ("header.size_bytes", [announced(0)]),
        ("header.sha256", [announced(10, sha256=b"short")]),
        ("data", [announced(2**23), UploadImageRequest(data=bytes(2**22))]),
        ("header.sha256", [header(b"x" * 100), UploadImageRequest(data=b"y" * 100)]),
        ("data", [header(b"x" * 100), UploadImageRequest(data=b"x" * 99)]),
        ("data", [header(b"x" * 100), UploadImageRequest(data=b"x" * 101)]),
    ],
)
async def test_an_upload_that_is_not_what_was_announced_is_refused(server, field, parts):
    assert fields(await refusal(upload(server, parts))) == [field]


async def test_an_unknown_upload_is_refused(server):
    for name in ("uploads/" + "0" * 64, "../lock", "uploads/../lock", "", "uploads/"):
        assert fields(await refusal(server.create(order(upload=name)))) == ["spec.upload"]


def age(server, seconds: float) -> None:
    for path in (server.app.settings.data_path / "images").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - seconds, time.time() - seconds))


async def announce(server, size: int):
    """Announce an upload and send none of it: a client that still sends may lose the status."""

    async def begun():
        yield announced(size)
        await asyncio.Event().wait()

    return await server.stub.UploadImage(begun(), timeout=30)


def noisy(seed: int) -> bytes:
    """A photo of 540 kB."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (450, 400), random.Random(seed).randbytes(450 * 400 * 3)).save(buffer, "PNG")
    return buffer.getvalue()


def files(server) -> set[str]:
    return {path.name for path in (server.app.settings.data_path / "images").rglob("*") if path.is_file()}


async def test_an_upload_outlives_a_deleted_job_until_it_expires(serve):
    server = await serve(upload_retention_s=0.5)
    data = noise_photo(50, 50)
    uploaded = await upload(server, [header(data), *pieces(data)])
    created = await server.create(order(upload=uploaded.upload))
    await server.watch(created.name)
    await server.delete(created.name)
    assert files(server) == {hashlib.sha256(data).hexdigest()}

    age(server, 100)
    while time.time() < uploaded.expire_time.seconds + 1:
        await server.info()
    await server.app.retention.enforce()
    assert files(server) == set()


async def test_a_result_stays_though_an_equal_one_is_deleted_while_it_is_stored(server, monkeypatch):
    same = StylizationOptions(seed=1, steps=2)
    first = await server.create(order("the same", options=same))
    await server.watch(first.name)
    blobs, loop, deletions = server.app.storage.blobs, asyncio.get_running_loop(), []
    adopt = blobs.adopt

    def adopt_slowly(path, digest):
        adopt(path, digest)
        deletions.append(asyncio.run_coroutine_threadsafe(server.delete(first.name), loop))
        time.sleep(0.3)

    monkeypatch.setattr(blobs, "adopt", adopt_slowly)
    second = await server.create(order("the same", options=same))
    assert (await server.watch(second.name)).kinds()[-1] == "result"
    await asyncio.wrap_future(deletions[0])
    assert (await server.get(second.name)).result.image.sha256.hex() in files(server)


async def test_old_jobs_go_with_their_images_and_running_ones_stay(serve, gate):
    server = await serve(retention_s=0.001)
    done = await server.create(order("done", image=photo(50, 50)))
    await server.watch(done.name)
    running = await server.create(order(f"hold={gate} x"))
    await server.app.retention.enforce()

    assert reason(await refusal(server.get(done.name))) == "STYLIZATION_NOT_FOUND"
    assert files(server) == {hashlib.sha256(photo()).hexdigest()}
    gate.touch()
    assert (await server.watch(running.name)).kinds()[-1] == "result"


async def test_beyond_the_bytes_the_oldest_jobs_go(serve):
    server = await serve(caller_share=1)
    jobs = [await server.create(order(f"job {number}")) for number in range(4)]
    for job in jobs:
        await server.watch(job.name)
    server.app.room.max_bytes = int(2.5 * server.app.storage.database.stored_bytes() / 4)
    await server.app.retention.enforce()
    assert [job.name for job in (await server.page()).stylizations] == [jobs[3].name, jobs[2].name]


async def test_one_caller_fills_its_share_of_the_storage_and_another_one_still_stores(serve, gate):
    server = await serve(retention_bytes=4_000_000, caller_share=0.5)
    await server.create(order(f"hold={gate} x"))
    held = [await server.create(order(f"waits {n}", image=noisy(n))) for n in range(3)]
    status = await refusal(server.create(order("one too many", image=noisy(3))))
    assert (reason(status), details(status, error_details_pb2.ErrorInfo).metadata["limit"]) == (
        "STORAGE_FULL",
        "2000000",
    )
    assert reason(await refusal(announce(server, 540_000))) == "STORAGE_FULL"

    async with relayed(server.app.grpc_address) as channel:
        other = StylizationServiceStub(channel)
        uploaded = await other.UploadImage(iter([header(noisy(5)), *pieces(noisy(5))]), timeout=30)
        created = await other.CreateStylization(order("another caller", upload=uploaded.upload), timeout=30)
        assert reason(await refusal(announce(server, 540_000))) == "STORAGE_FULL"
        gate.touch()
        assert (await server.watch(created.stylization.name)).kinds()[-1] == "result"
    assert [(await server.watch(job.name)).kinds()[-1] for job in held] == ["result"] * 3


async def test_a_photo_that_was_uploaded_needs_no_second_room(serve):
    server = await serve(retention_bytes=1_000_000, caller_share=1)
    uploaded = await server.upload(noisy(0))
    created = await server.create(order("as uploaded", upload=uploaded))
    assert (await server.watch(created.name)).kinds()[-1] == "result"


async def test_what_can_never_fit_deletes_nothing(serve):
    server = await serve(retention_bytes=2_000_000, caller_share=0.5)
    done = await server.create(order())
    await server.watch(done.name)
    assert reason(await refusal(announce(server, 1_500_000))) == "STORAGE_FULL"
    assert (await server.get(done.name)).state == Stylization.STATE_SUCCEEDED


async def test_uploads_of_one_caller_push_out_its_own_and_no_other_callers(serve):
    server = await serve(retention_bytes=4_000_000, caller_share=0.5)
    async with relayed(server.app.grpc_address) as channel:
        other = StylizationServiceStub(channel)
        kept = (await other.UploadImage(iter([header(noisy(0)), *pieces(noisy(0))]), timeout=30)).upload
        own = [await server.upload(noisy(n)) for n in range(1, 9)]
        await other.CreateStylization(order("kept", upload=kept), timeout=30)
    assert fields(await refusal(server.create(order("pushed out", upload=own[0])))) == ["spec.upload"]
    await server.create(order("the last", upload=own[-1]))


async def test_unreferenced_files_are_collected_once_they_are_old(serve):
    server = await serve()
    created = await server.create(order())
    await server.watch(created.name)
    wanted = files(server)
    server.app.storage.blobs.put(b"orphan")
    await server.app.retention.enforce()
    assert len(files(server)) == len(wanted) + 1  # young: it may belong to a job that is just being stored
    age(server, 100)
    await server.app.retention.enforce()
    assert files(server) == wanted
