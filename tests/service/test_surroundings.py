"""What an operator or an accident does to the files and processes of a running server is noticed and reported."""

from __future__ import annotations

import asyncio
import io
import stat
import time

import aiohttp
import pytest
from clipstyler_server.storage.storage import Storage, StorageUnusableError
from clipstyler_server.workers.decoder import client as decoder_client
from clipstyler_server.workers.process import ChildProcess
from PIL import Image

from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import eventually, noise_photo, order, reason, refusal, request

IN_WORDS = {"optimizer": "the worker", "decoder": "the decoder"}


async def readiness(server) -> tuple[int, list[str]]:
    url = f"http://{server.app.http_address}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, (await response.json())["problems"]


async def until_ready(server, wanted: int, limit_s: float) -> list[str]:
    """Wait until readiness is as wanted; returns the problems meanwhile reported last."""
    begun = time.monotonic()
    while True:
        status, problems = await readiness(server)
        if status == wanted:
            return problems
        assert time.monotonic() - begun < limit_s, problems
        await asyncio.sleep(0.05)


async def test_files_of_jobs_are_for_their_owner_only(serve):
    server = await serve()
    await server.watch((await server.create(order())).name)
    directory = server.app.settings.data_path
    readable = {
        path.relative_to(directory)
        for path in directory.rglob("*")
        if path.name not in {"lock", "server-id"} and stat.S_IMODE(path.stat().st_mode) & 0o077
    }
    assert readable == set()


async def test_a_deleted_directory_of_images_is_made_again(serve, log):
    server = await serve()
    images = server.app.settings.data_path / "images"
    images.rename(images.with_name("moved away"))
    created = await server.create(order())
    assert (await server.watch(created.name)).kinds()[-1] == "result"
    assert (await server.image(created.name, Stylization.IMAGE_KIND_CONTENT))[1]


async def test_a_deleted_lock_is_taken_again(serve, log):
    server = await serve()
    lock = server.app.settings.data_path / "lock"
    lock.unlink()
    await eventually(lambda: any(line["event"] == "lock_lost" for line in log))
    with pytest.raises(StorageUnusableError, match="another server uses"):
        Storage(server.app.settings.data_path, "", server.app.metrics)
    assert (await readiness(server))[0] == 200


async def test_a_stolen_data_directory_is_noticed(serve):
    server = await serve()
    (server.app.settings.data_path / "lock").unlink()
    thief = Storage(server.app.settings.data_path, "", server.app.metrics)
    assert await until_ready(server, 503, 2.5) == ["another server has taken over the data directory"]
    thief.close()


async def test_a_damaged_database_is_reported_as_such(serve):
    server = await serve()
    path = server.app.settings.data_path / "jobs.sqlite3"
    server.app.storage.database.close()
    intact = path.read_bytes()
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    path.write_bytes(b"no database" * 1000)
    assert "damaged" in (await until_ready(server, 503, 2.5))[0]
    status = await refusal(server.create(order()))
    assert (reason(status), status.code) == ("STORAGE_DAMAGED", 15)

    server.app.storage.database.close()
    path.write_bytes(intact)
    await until_ready(server, 200, 5)


@pytest.mark.parametrize("kind", ["optimizer", "decoder"])
async def test_readiness_knows_every_process_that_jobs_need(serve, kind):
    server = await serve()
    processes = server.app.decoder.processes if kind == "decoder" else [server.app.optimizers.workers[0]]
    for process in processes:
        process.kill()
    assert IN_WORDS[kind] in (await until_ready(server, 503, 2))[0]
    await until_ready(server, 200, 5)
    assert (await server.stylize(request())).status is None


@pytest.mark.parametrize("problem", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")])
@pytest.mark.parametrize("kind", ["optimizer", "decoder"])
async def test_a_process_that_cannot_be_started_for_a_while_is_started_later(serve, monkeypatch, kind, problem):
    server = await serve()
    start = ChildProcess.start
    failures = 0

    async def fail(child: ChildProcess) -> None:
        nonlocal failures
        if kind not in child._process.name:
            return await start(child)
        failures += 1
        raise problem

    monkeypatch.setattr(ChildProcess, "start", fail)
    monkeypatch.setattr(decoder_client, "_START_WAIT_S", 0.5)
    for process in server.app.decoder.processes if kind == "decoder" else [server.app.optimizers.workers[0]]:
        process.kill()
    await eventually(lambda: failures >= 4)
    assert IN_WORDS[kind] in (await until_ready(server, 503, 2))[0]
    status = (await server.stylize(request())).status
    assert reason(status) == "WORKER_NOT_READY"

    monkeypatch.undo()
    await until_ready(server, 200, 5)
    assert (await server.stylize(request())).status is None


async def test_pauses_memory_and_calls_are_measured(server, gate):
    created = await server.create(order(f"hold={gate} x"))
    call, events, watching = server.begin_watch(created.name)
    await eventually(lambda: events)
    server.count_from_here()
    time.sleep(0.25)  # the event loop stands still
    await eventually(lambda: server.metric("event_loop_pause_seconds_count") > 1)
    assert server.metric("event_loop_pause_seconds_sum") > 0.2

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in server.app.metrics.registry.collect()
        for sample in family.samples
    }
    assert samples["clipstyler_event_loop_longest_pause_seconds",] > 0.2
    assert samples["clipstyler_open_calls", "/clipstyler.v1.StylizationService/WatchStylization"] == 1
    assert samples["clipstyler_resident_bytes", "front"] > samples["clipstyler_resident_bytes", "decoder 0"] > 1e7
    assert samples["clipstyler_bytes_in_flight", "outgoing"] == 0
    call.cancel()
    gate.touch()
    await asyncio.wait([watching])


async def test_an_image_that_takes_too_much_memory_is_refused(serve):
    server = await serve(decoder_memory_bytes=128 * 2**20)
    assert (await server.stylize(request(image=noise_photo(16, 16)))).status is None
    buffer = io.BytesIO()
    Image.new("RGB", (7900, 7900)).save(buffer, "PNG", compress_level=1)
    status = (await server.stylize(request(image=buffer.getvalue()))).status
    assert "does not fit into memory" in status.message
    assert all(process.restarts == 0 for process in server.app.decoder.processes)
