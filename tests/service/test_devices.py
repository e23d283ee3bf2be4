"""Several devices in one server: each runs one job at a time, and a lost one takes nothing but its own job along."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import psutil
import pytest_asyncio
from clipstyler_server.devices import parse_devices
from clipstyler_server.jobs.events import CancelReason
from clipstyler_server.jobs.job import Job
from clipstyler_server.observability.health import SERVER
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipstyler.v1.server_service_pb2 import ServerInfo
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service import scripted
from tests.service.conftest import start
from tests.service.harness import PATIENCE_S, Harness, eventually, order, photo, reason, refusal, request
from tests.service.test_observability import page
from tests.service.test_styles import asked, uploaded

DEVICES = "cpu*3"
NAMES = [device.name for device in parse_devices(DEVICES)]
Worker = ServerInfo.Worker


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_server() -> AsyncIterator[Harness]:
    harness = await start(scripted.make, devices=DEVICES)
    await all_ready(harness)
    yield harness
    await harness.stop()


async def all_ready(server: Harness) -> None:
    await eventually(lambda: server.app.optimizers.ready_count == len(server.app.optimizers.workers))


async def running(server: Harness, text: str, count: int, **fields: object) -> list[Stylization]:
    """Create jobs, and wait until all of them run."""
    jobs = [await server.create(order(text, **fields)) for _ in range(count)]
    await eventually(lambda: len(server.app.scheduler.running) == count)
    return jobs


def worker_of(server: Harness, job: Stylization):
    """The worker that runs a job."""
    return server.app.optimizers._runs[job.name.removeprefix("stylizations/")]


async def test_as_many_jobs_run_at_a_time_as_there_are_devices(server, gate):
    jobs = [await server.create(order(f"hold={gate} x")) for _ in range(5)]
    await eventually(lambda: len(server.app.scheduler.running) == 3)

    info = await server.info()
    assert [worker.name for worker in info.workers] == NAMES
    assert [worker.state for worker in info.workers] == [Worker.STATE_BUSY] * 3
    assert (info.queue.running_count, info.queue.waiting_count) == (3, 2)
    assert [server.metric("device_busy", device=name) for name in NAMES] == [1, 1, 1]
    assert [job.position for job in server.app.queue.order()] == [3, 4]
    gate.touch()
    outcomes = [await server.watch(job.name) for job in jobs]
    assert [outcome.kinds()[-1] for outcome in outcomes] == ["result"] * 5
    assert (await server.info()).queue.running_count == 0
    assert [server.metric("device_busy", device=name) for name in NAMES] == [0, 0, 0]


async def test_every_device_gives_the_bytes_of_the_others(server, gate):
    jobs = await running(server, f"hold={gate} x", 3)
    assert len({worker_of(server, job).name for job in jobs}) == 3
    gate.touch()
    images = set()
    for job in jobs:
        assert (await server.watch(job.name)).kinds()[-1] == "result"
        images.add((await server.image(job.name))[1])
    assert len(images) == 1


async def test_waiting_jobs_start_on_the_device_that_is_free_first(server, tmp_path):
    gates = [tmp_path / str(number) for number in range(3)]
    jobs = [await server.create(order(f"hold={gate} x")) for gate in gates]
    await eventually(lambda: len(server.app.scheduler.running) == 3)
    freed = worker_of(server, jobs[1])
    waiting = await server.create(order(f"hold={tmp_path / 'last'} x"))
    gates[1].touch()
    await server.watch(jobs[1].name)
    await eventually(lambda: len(server.app.scheduler.running) == 3)

    assert worker_of(server, waiting) is freed
    for gate in (*gates, tmp_path / "last"):
        gate.touch()
    for job in (*jobs, waiting):
        assert (await server.watch(job.name)).kinds()[-1] == "result"


async def test_a_lost_device_fails_its_job_only_and_the_server_stays_ready(serve, gate):
    server = await serve(devices="cpu*2", restart_delay_s=1)
    await all_ready(server)
    health = health_pb2_grpc.HealthStub(server.channel)
    lost, kept = await running(server, f"hold={gate} at=3 x", 2)
    await eventually(lambda: all(job.step == 2 for job in server.app.scheduler.running.values()))
    waiting = await server.create(order("another look"))
    worker = worker_of(server, lost)
    psutil.Process(worker.pid).kill()

    failed = (await server.watch(lost.name)).only("failed")[0].error
    assert failed.reason == "WORKER_CRASHED"
    assert f"on {worker.name} was killed by SIGKILL" in failed.message
    status, body = await page(server, "/readyz")
    assert (status, json.loads(body)) == (
        200,
        {"ready": True, "problems": [], "lost": [f"the optimizer on {worker.name} crashed and is being restarted"]},
    )
    asked_health = health_pb2.HealthCheckRequest(service=SERVER)
    assert (await health.Check(asked_health)).status == health_pb2.HealthCheckResponse.SERVING
    states = {one.name: one.state for one in (await server.info()).workers}
    assert states == {worker.name: Worker.STATE_CRASHED, worker_of(server, kept).name: Worker.STATE_BUSY}
    assert server.metric("device_ready", device=worker.name) == 0
    # The other device neither takes a second job nor stops.
    assert [job.id for job in server.app.scheduler.running.values()] == [kept.name.removeprefix("stylizations/")]
    gate.touch()
    for job in (kept, waiting):
        assert (await server.watch(job.name)).kinds()[-1] == "result"
    await all_ready(server)
    assert json.loads((await page(server, "/readyz"))[1])["lost"] == []
    assert sorted(one.restart_count for one in (await server.info()).workers) == [0, 1]


async def test_without_any_device_the_server_is_not_ready_and_jobs_wait_for_the_first_one(serve, gate):
    server = await serve(devices="cpu*2", restart_delay_s=1)
    await all_ready(server)
    jobs = await running(server, f"hold={gate} at=3 x", 2)
    await eventually(lambda: all(job.step == 2 for job in server.app.scheduler.running.values()))
    waiting = await server.create(order("another look"))
    for worker in server.app.optimizers.workers:
        psutil.Process(worker.pid).kill()
    for job in jobs:
        assert (await server.watch(job.name)).only("failed")[0].error.reason == "WORKER_CRASHED"
    status, body = await page(server, "/readyz")
    assert (status, json.loads(body)["problems"]) == (503, ["the worker crashed and is being restarted"])
    assert reason((await server.stylize(request())).status) == "WORKER_NOT_READY"
    assert (await server.watch(waiting.name)).kinds()[-1] == "result"


async def test_cancelling_one_job_leaves_those_on_other_devices_alone(server, gate, tmp_path):
    trace = tmp_path / "trace"
    kept = await running(server, f"hold={gate} x", 2)
    busy = await server.create(order(f"busy=1 trace={trace}"))
    await eventually(lambda: len(server.app.scheduler.running) == 3 and trace.exists())
    await server.cancel(busy.name)

    assert (await server.watch(busy.name)).kinds()[-1] == "cancelled"
    assert len(server.app.scheduler.running) == 2
    gate.touch()
    for job in kept:
        assert (await server.watch(job.name)).kinds()[-1] == "result"
    assert server.metric("steps_after_cancel_sum") <= 1


async def test_a_job_that_is_cancelled_as_it_starts_runs_nothing(server, tmp_path, monkeypatch):
    scheduler, record_start = server.app.scheduler, server.app.persister.record_start

    def cancelled_meanwhile(job: Job) -> None:
        record_start(job)
        scheduler.cancel(job, CancelReason.REQUESTED)

    monkeypatch.setattr(server.app.persister, "record_start", cancelled_meanwhile)
    trace = tmp_path / "trace"
    created = await server.create(order(f"trace={trace}"))
    assert (await server.watch(created.name)).kinds()[-1] == "cancelled"
    assert not trace.exists()


async def test_deadlines_end_the_jobs_of_all_devices(serve, tmp_path):
    server = await serve(devices="cpu*2", default_deadline_s=1)
    await all_ready(server)
    calls = [server.begin(request("busy=1 at=1 x"), timeout=None)[2] for _ in range(3)]
    outcomes = await asyncio.gather(*calls)
    assert [reason(outcome.status) for outcome in outcomes] == ["DEADLINE_EXCEEDED"] * 3


async def test_the_queue_has_its_places_besides_the_devices(serve, gate):
    server = await serve(devices="cpu*2", queue_capacity=1, caller_share=1)
    await all_ready(server)
    for _ in range(3):
        await server.create(order(f"hold={gate} x"))
    assert reason(await refusal(server.create(order(f"hold={gate} x")))) == "QUEUE_FULL"
    gate.touch()


async def test_a_drain_waits_for_the_jobs_of_all_devices(launch, gate):
    server = await (await launch(devices="cpu*2", drain_grace_s=60)).ready()
    begun = [server.begin(request(f"hold={gate} at=1 x")) for _ in range(2)]
    await eventually(lambda: all(any(event.HasField("started") for event in events) for events, _ in begun))
    server.process.terminate()
    await eventually(lambda: server.line("server_draining"))
    gate.touch()
    assert [(await call).kinds()[-1] for _, call in begun] == ["result", "result"]
    assert (await server.ended())[0] == 0


async def test_jobs_that_outlast_the_grace_are_stopped_on_all_devices(launch):
    server = await (await launch(devices="cpu*2", drain_grace_s=0.1)).ready()
    begun = [server.begin(request("busy=1 at=1 x")) for _ in range(2)]
    await eventually(lambda: all(any(event.HasField("started") for event in events) for events, _ in begun))
    server.process.terminate()
    assert [(await call).kinds()[-1] for _, call in begun] == ["cancelled", "cancelled"]
    assert (await server.ended())[0] == 0


async def test_a_style_is_applied_on_a_device_that_runs_nothing(server, gate):
    jobs = await running(server, f"hold={gate} x", 2)
    style = await uploaded(server, "busy=1 a look")
    (free,) = [worker for worker in server.app.optimizers.workers if not worker.status.is_busy]
    call = StyleServiceStub(server.channel).ApplyStyle(iter(asked(style, photo(90, 60))), timeout=PATIENCE_S)
    reading = asyncio.create_task(call.read())
    await eventually(lambda: free.applications == 1)
    call.cancel()
    await asyncio.wait([reading])
    gate.touch()
    for job in jobs:
        await server.watch(job.name)


async def test_styles_are_spread_over_the_devices(server):
    style = await uploaded(server, "busy=1 a look")
    calls = [
        StyleServiceStub(server.channel).ApplyStyle(iter(asked(style, photo(90, 60))), timeout=PATIENCE_S)
        for _ in range(3)
    ]
    reading = [asyncio.create_task(call.read()) for call in calls]
    await eventually(lambda: [worker.applications for worker in server.app.optimizers.workers] == [1, 1, 1])
    for call in calls:
        call.cancel()
    await asyncio.wait(reading)
    await eventually(lambda: server.app.lane.in_work == 0)


async def test_the_processes_are_named_by_their_devices(server):
    names = {name for name in server.app._process_ids() if name.startswith("optimizer")}
    assert names == {f"optimizer {name}" for name in NAMES}
