"""Several jobs at once on one device: they take turns, each ends for itself, and what the server reports is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from clipstyler_server.settings import Settings
from google.protobuf.duration_pb2 import Duration

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.server_service_pb2 import ServerInfo
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service import scripted
from tests.service.conftest import start
from tests.service.harness import Harness, eventually, fields, noise_photo, order, request

RUNS = 3
Worker = ServerInfo.Worker


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_server() -> AsyncIterator[Harness]:
    harness = await start(scripted.make, runs_per_device=RUNS)
    yield harness
    await harness.stop()


def steps(count: int) -> dict[str, StylizationOptions]:
    return {"options": StylizationOptions(steps=count)}


async def running(server: Harness, text: str, count: int, step: int = 1, **fields: object) -> list[Stylization]:
    """Create jobs, and wait until all of them run and have completed a step."""
    jobs = [await server.create(order(text, **fields)) for _ in range(count)]
    mine = {job.name.removeprefix("stylizations/") for job in jobs}
    await eventually(
        lambda: mine <= {job.id for job in server.app.scheduler.running.values() if job.step >= step},
    )
    return jobs


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_a_device_runs_as_many_jobs_as_it_may_and_the_server_says_so(server, gate):
    jobs = await running(server, f"park={gate} x", RUNS)
    waiting = [await server.create(order("x")) for _ in range(2)]

    info = await server.info()
    assert [worker.state for worker in info.workers] == [Worker.STATE_BUSY]
    assert (info.queue.running_count, info.queue.waiting_count) == (RUNS, 2)
    assert (server.metric("jobs_running"), server.metric("device_busy", device="cpu")) == (RUNS, 1)
    assert [job.position for job in server.app.queue.order()] == [RUNS, RUNS + 1]
    gate.touch()
    for job in (*jobs, *waiting):
        assert (await server.watch(job.name)).kinds()[-1] == "result"
    assert (await server.info()).queue.running_count == 0


async def test_jobs_take_turns_and_a_short_one_ends_beside_a_long_one(server, tmp_path):
    trace = tmp_path / "trace"
    (long,) = await running(server, f"step=0.005 trace={trace}", 1, step=5, **steps(400))
    short = await server.create(order(f"trace={trace}", **steps(4)))
    assert (await server.watch(short.name)).kinds()[-1] == "result"
    assert [job.id for job in server.app.scheduler.running.values()] == [long.name.removeprefix("stylizations/")]
    of_short = [number for number, line in enumerate(lines(trace)) if line in {"step 1", "step 2", "step 3", "step 4"}]
    # One step of the long job between two of the short one.
    assert [after - before for before, after in zip(of_short[-4:], of_short[-3:], strict=False)] == [2, 2, 2]
    await server.cancel(long.name)
    assert (await server.watch(long.name)).kinds()[-1] == "cancelled"


async def test_jobs_have_the_bytes_that_they_have_alone_and_say_that_steps_were_shared(server, gate):
    alone = await server.create(order("a look"))
    assert (await server.watch(alone.name)).kinds()[-1] == "result"
    assert "shared_steps" not in (await server.get(alone.name)).result.versions
    others = await running(server, f"park={gate} x", 2)
    beside = await server.create(order("a look"))
    assert (await server.watch(beside.name)).kinds()[-1] == "result"
    assert (await server.image(beside.name))[1] == (await server.image(alone.name))[1]
    assert (await server.get(beside.name)).result.versions["shared_steps"] == "3"
    gate.touch()
    for job in others:
        await server.watch(job.name)


@pytest.mark.parametrize(("text", "expected"), [("fail=1", "INTERNAL"), ("oom=1", "OUT_OF_MEMORY")])
async def test_a_job_that_fails_fails_alone(server, gate, text, expected):
    others = await running(server, f"park={gate} x", 2)
    failing = await server.create(order(text))
    assert (await server.watch(failing.name)).only("failed")[0].error.reason == expected
    assert len(server.app.scheduler.running) == 2
    gate.touch()
    for job in others:
        assert (await server.watch(job.name)).kinds()[-1] == "result"


async def test_a_cancel_is_heard_within_a_step_and_by_its_job_only(server, gate):
    jobs = await running(server, f"park={gate} x", RUNS)
    await server.cancel(jobs[1].name)
    assert (await server.watch(jobs[1].name)).kinds()[-1] == "cancelled"
    assert server.metric("steps_after_cancel_sum") <= 1
    # Its place is free at once.
    (next_one,) = await running(server, "step=0.005 x", 1, **steps(100))
    assert len(server.app.scheduler.running) == RUNS
    await server.cancel(next_one.name)
    gate.touch()
    for job in (jobs[0], jobs[2]):
        assert (await server.watch(job.name)).kinds()[-1] == "result"


async def test_a_deadline_ends_its_job_only(serve, gate):
    server = await serve(runs_per_device=2)
    (kept,) = await running(server, f"park={gate} x", 1)
    late = await server.create(order(f"park={gate} x", timeout=Duration(nanos=600_000_000)))
    assert (await server.watch(late.name)).only("failed")[0].error.reason == "DEADLINE_EXCEEDED"
    assert len(server.app.scheduler.running) == 1
    gate.touch()
    assert (await server.watch(kept.name)).kinds()[-1] == "result"


async def test_a_lost_process_fails_what_had_begun_and_runs_what_had_not_again(serve, gate, tmp_path):
    server = await serve(runs_per_device=2)
    jobs = await running(server, f"park={gate} x", 2)
    waiting = await server.create(order("another look"))
    psutil.Process(server.app.optimizers.workers[0].pid).kill()
    for job in jobs:
        assert (await server.watch(job.name)).only("failed")[0].error.reason == "WORKER_CRASHED"
    assert (await server.watch(waiting.name)).kinds()[-1] == "result"
    assert [worker.restart_count for worker in (await server.info()).workers] == [1]


async def test_jobs_go_to_the_device_that_runs_least(serve, gate):
    server = await serve(devices="cpu*2", runs_per_device=2)
    await eventually(lambda: server.app.optimizers.ready_count == 2)
    jobs = []
    for _ in range(4):
        jobs += await running(server, f"park={gate} x", 1)
        counts = [worker.status.running for worker in server.app.optimizers.workers]
        assert max(counts) - min(counts) <= 1
    assert counts == [2, 2]
    assert len((await server.info()).workers) == 2
    gate.touch()
    for job in jobs:
        assert (await server.watch(job.name)).kinds()[-1] == "result"


async def test_a_job_may_take_its_part_of_the_memory_of_a_device(serve):
    server = await serve(max_job_memory_bytes=4 * 10**9, runs_per_device=4)
    assert (await server.info()).limits.max_job_memory_bytes == 10**9
    asked = request(image=noise_photo(1024, 1024, "JPEG"), options=StylizationOptions(size=1024))
    status = (await server.stylize(asked)).status
    assert fields(status) == ["spec.options.size"]
    assert "a job of this server may take 1.0 GB" in status.message


async def test_estimates_count_with_the_jobs_that_share_a_device(serve, gate):
    server = await serve(runs_per_device=2)
    step_s, count = 0.1, 8
    text = f"step={step_s} x"
    alone = await server.create(order(text, **steps(count)))
    await server.watch(alone.name)
    jobs = await running(server, f"{text} at={count} park={gate}", 2, step=count - 1, **steps(count))
    spec = next(iter(server.app.scheduler.running.values())).spec
    estimate = server.app.scheduler.outlook.estimator.seconds
    assert estimate(spec) == pytest.approx(count * step_s, rel=0.5)
    assert estimate(spec, together=2) == pytest.approx(2 * count * step_s, rel=0.5)
    waiting = await server.create(order(text, **steps(count)))
    (queued,) = server.app.scheduler.outlook.queue_estimates().values()
    assert queued.position == 2
    assert (queued.end - queued.start).total_seconds() == pytest.approx(2 * count * step_s, rel=0.5)
    gate.touch()
    for job in (*jobs, waiting):
        assert (await server.watch(job.name)).kinds()[-1] == "result"


async def test_a_drain_waits_for_all_jobs_of_a_device(launch, gate):
    server = await (await launch(runs_per_device=2, drain_grace_s=60)).ready()
    begun = [server.begin(request(f"park={gate} x")) for _ in range(2)]
    await eventually(lambda: all(any(event.HasField("progress") for event in events) for events, _ in begun))
    server.process.terminate()
    await eventually(lambda: server.line("server_draining"))
    gate.touch()
    outcomes = await asyncio.gather(*(call for _, call in begun))
    assert [outcome.kinds()[-1] for outcome in outcomes] == ["result", "result"]
    assert (await server.ended())[0] == 0


def test_a_cluster_of_ray_runs_one_job_per_device():
    with pytest.raises(ValueError, match="leave `runs_per_device` at 1"):
        Settings(engine="ray", devices="cpu*2", runs_per_device=2)
    assert Settings(engine="ray", devices="cpu*2").runs_per_device == 1
