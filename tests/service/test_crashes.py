"""A crash fails one job. The server continues, reports when it cannot, and recovers by itself."""

from __future__ import annotations

import asyncio

import grpc
import psutil
import pytest
from clipstyler_server.app import App
from clipstyler_server.start_checks import ServerStartError
from clipstyler_server.workers.engine import EngineLost
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipstyler.events import Started
from clipstyler.v1 import server_service_pb2
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service import scripted
from tests.service.harness import (
    details,
    eventually,
    order,
    photo,
    reason,
    refusal,
    request,
    same_error,
    settings,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_killed_worker_fails_its_job_and_the_queued_one_completes(serve, gate):
    server = await serve()
    health = health_pb2_grpc.HealthStub(server.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="clipstyler.v1.StylizationService"))
    assert (await watch.read()).status == SERVING
    _, events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    _, queued_events, queued = server.begin(request("another look"))
    await eventually(lambda: queued_events)

    psutil.Process(server.app.optimizers.workers[0].pid).kill()
    failed = await running
    assert failed.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert reason(failed.status) == "WORKER_CRASHED"
    assert "SIGKILL" in failed.status.message
    assert details(failed.status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() > 0
    assert same_error(failed.only("failed")[0].error, failed.status)
    assert (await watch.read()).status == NOT_SERVING

    assert (await queued).kinds()[-1] == "result"
    assert (await watch.read()).status == SERVING
    watch.cancel()
    (worker,) = (await server.info()).workers
    assert (worker.restart_count, worker.state) == (1, server_service_pb2.ServerInfo.Worker.STATE_IDLE)
    assert server.metric("worker_restarts_total", worker="optimizer") == 1


async def test_new_calls_are_unavailable_until_the_worker_is_back(serve):
    server = await serve(restart_delay_s=1)
    psutil.Process(server.app.optimizers.workers[0].pid).kill()
    await eventually(server.app.scheduler.problems)

    refused = await server.stylize(request())
    assert refused.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert reason(refused.status) == "WORKER_NOT_READY"
    assert details(refused.status, error_details_pb2.RetryInfo)
    (worker,) = (await server.info()).workers
    assert worker.state == server_service_pb2.ServerInfo.Worker.STATE_CRASHED
    await eventually(lambda: not server.app.scheduler.problems())
    assert (await server.stylize(request())).status is None


async def test_a_worker_that_crashes_again_and_again_is_started_again_each_time_after_a_longer_wait(serve, gate, log):
    server = await serve()
    for _ in range(3):
        _, events, running = server.begin(request(f"hold={gate} x"))
        # Before that it would be a lost start, and the job would run again.
        await eventually(lambda events=events: any(event.WhichOneof("event") == "progress" for event in events))
        psutil.Process(server.app.optimizers.workers[0].pid).kill()
        assert reason((await running).status) == "WORKER_CRASHED"
        await eventually(lambda: not server.app.scheduler.problems())

    assert (await server.stylize(request())).status is None
    assert (await server.info()).workers[0].restart_count == 3
    assert [line["restart_in_s"] for line in log if line["event"] == "worker_lost"] == [0.05, 0.1, 0.2]


async def test_a_worker_that_hangs_is_killed_and_started_again(serve, gate):
    server = await serve(stall_timeout_s=0.5)
    failed = await server.stylize(request(f"hold={gate} x"))

    assert reason(failed.status) == "WORKER_CRASHED"
    assert "0.5 s" in failed.status.message
    gate.touch()
    await eventually(lambda: not server.app.scheduler.problems())
    assert (await server.stylize(request())).status is None


async def test_a_job_that_raises_fails_alone_and_hides_its_traceback_behind_an_id(server):
    failed = await server.stylize(request("fail=1 x"))

    assert failed.status.code == grpc.StatusCode.INTERNAL.value[0]
    assert reason(failed.status) == "INTERNAL"
    info = details(failed.status, error_details_pb2.ErrorInfo)
    assert info.metadata["error_id"] in failed.status.message
    assert "scripted failure" not in str(failed.status)
    assert same_error(failed.only("failed")[0].error, failed.status)
    assert (await server.stylize(request())).status is None
    assert (await server.info()).workers[0].restart_count == 0


async def test_an_unexpected_exception_in_the_front_is_internal_and_logged_under_its_id(server, log, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("clipstyler_server.jobs.admission.resolve_spec", broken)
    failed = await server.stylize(request())

    assert reason(failed.status) == "INTERNAL"
    assert "secret" not in str(failed.status)
    (line,) = [line for line in log if line["event"] == "rpc_failed"]
    assert line["error_id"] == details(failed.status, error_details_pb2.ErrorInfo).metadata["error_id"]


async def test_a_job_whose_engine_is_lost_before_it_began_waits_and_runs_again(serve, monkeypatch, log):
    server = await serve()
    run, tasks = server.app.optimizers.run, []

    async def lose_the_first(task):
        tasks.append(task.job_id)
        if len(tasks) == 1:
            raise EngineLost("was killed by SIGKILL")
        async for event in run(task):
            yield event

    monkeypatch.setattr(server.app.optimizers, "run", lose_the_first)
    created = await server.create(order())
    watched = await server.watch(created.name)

    assert watched.kinds()[-1] == "result"
    assert len(watched.only("result")) == 1
    assert tasks == [created.name.removeprefix("stylizations/")] * 2
    job = await server.get(created.name)
    assert (job.state, job.attempt_count) == (Stylization.STATE_SUCCEEDED, 2)
    assert [line["attempts"] for line in log if line["event"] == "job_waits_again"] == [1]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_job_that_was_cancelled_does_not_come_back_when_its_engine_is_lost(serve, monkeypatch, begun):
    server = await serve()
    is_cancelled = asyncio.Event()

    async def lose_when_cancelled(task):
        if begun:
            yield Started(3, 8, 8, "cpu")
        await is_cancelled.wait()
        raise EngineLost("was killed by SIGKILL")
        yield

    monkeypatch.setattr(server.app.optimizers, "run", lose_when_cancelled)
    monkeypatch.setattr(server.app.optimizers, "cancel", lambda _: is_cancelled.set())
    created = await server.create(order())
    watching = asyncio.create_task(server.watch(created.name))
    await eventually(lambda: server.running)
    await server.cancel(created.name)
    assert (await watching).kinds()[-1] == "cancelled"
    assert (await server.get(created.name)).state == Stylization.STATE_CANCELLED


async def test_a_job_that_loses_engine_after_engine_fails(serve, monkeypatch):
    server = await serve()

    async def lose(task):
        raise EngineLost("was killed by SIGKILL")
        yield

    monkeypatch.setattr(server.app.optimizers, "run", lose)
    failed = await server.watch((await server.create(order())).name)
    assert failed.only("failed")[0].error.reason == "WORKER_CRASHED"


async def test_a_job_that_loses_its_engine_after_its_deadline_does_not_wait_for_another(serve, monkeypatch):
    server = await serve()

    async def lose_late(task):
        await asyncio.sleep(task.timeout_s + 0.1)
        monkeypatch.setattr(type(server.app.optimizers), "places", 0)  # none comes back
        raise EngineLost("gave no sign of life")
        yield

    monkeypatch.setattr(server.app.optimizers, "run", lose_late)
    asked = order()
    asked.timeout.FromMilliseconds(500)
    failed = await server.watch((await server.create(asked)).name)
    assert failed.only("failed")[0].error.reason == "DEADLINE_EXCEEDED"


async def test_a_job_whose_engine_ends_without_a_result_fails(serve, monkeypatch, log):
    server = await serve()

    async def end_early(task):
        return
        yield

    monkeypatch.setattr(server.app.optimizers, "run", end_early)
    failed = await server.watch((await server.create(order())).name)
    assert failed.only("failed")[0].error.reason == "INTERNAL"
    assert [line["event"] for line in log if line["log_level"] == "error"] == ["job_processing_failed"]


async def test_a_worker_that_lacks_something_at_its_first_start_is_started_again(serve, log, tmp_path):
    server = await serve(scripted.make_after_two_lacks, cache_dir=str(tmp_path))
    assert (await server.stylize(request())).status is None
    lost = [line["problem"] for line in log if line["event"] == "worker_lost"]
    assert lost == ["could not start: the encoders cannot be read"] * 2
    assert server.app.optimizers.workers[0].restarts == 2


async def test_a_decoder_without_a_free_descriptor_does_not_blame_the_photo(serve):
    server = await serve()
    upload = await server.upload(photo())
    for decoder in server.app.decoder.processes:
        psutil.Process(decoder.pid).rlimit(psutil.RLIMIT_NOFILE, (1, 1000))
    status = await refusal(server.create(order(upload=upload)))
    assert reason(status) == "WORKER_NOT_READY"
    assert "Too many open files" in status.message
    for decoder in server.app.decoder.processes:
        psutil.Process(decoder.pid).rlimit(psutil.RLIMIT_NOFILE, (1000, 1000))
    await server.create(order(upload=upload))
    assert [decoder.restarts for decoder in server.app.decoder.processes] == [0, 0]


async def test_encoders_that_cannot_be_loaded_end_the_start_with_their_name():
    app = App(settings(encoder_sets="scripted,unfit"), scripted.make)
    await app.start()
    with pytest.raises(ServerStartError, match="unfit"):
        await app.ready()
    await app.stop(0)
