"""The queue is bounded, fair, and says when to come again."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2

from clipstyler.v1 import server_service_pb2
from tests.service.harness import details, eventually, reason, request


async def test_a_full_queue_refuses_with_a_retry_delay_and_stays_healthy(serve, gate):
    server = await serve(queue_capacity=2)
    begun = []
    for _ in range(3):
        _, events, task = server.begin(request(f"hold={gate} x"))
        await eventually(lambda events=events: events)
        begun.append((events, task))
    assert [events[0].queued.position for events, _ in begun] == [0, 1, 2]

    refused = await server.stylize(request())
    assert refused.status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert reason(refused.status) == "QUEUE_FULL"
    assert details(refused.status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() >= 1
    assert server.app.readiness.problems() == []
    info = await server.info()
    assert (info.queue.waiting, info.queue.running, info.queue.capacity) == (2, 1, 2)
    assert info.workers[0].state == server_service_pb2.WORKER_STATE_BUSY

    gate.touch()
    assert [(await task).status for _, task in begun] == [None] * 3
    assert (await server.stylize(request())).status is None


async def test_without_a_queue_one_job_runs_and_a_second_is_refused(serve, gate):
    server = await serve(queue_capacity=0)
    _, events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: events)

    assert reason((await server.stylize(request())).status) == "QUEUE_FULL"
    gate.touch()
    assert (await running).status is None


async def test_jobs_run_in_the_order_they_came(server, gate, tmp_path):
    trace = tmp_path / "trace"
    tasks = []
    for number in range(4):
        words = f"hold={gate} x" if number == 0 else f"trace={trace}"
        asked = request(words)
        asked.options.steps = max(2, number)
        _, events, task = server.begin(asked)
        await eventually(lambda events=events: events)
        tasks.append(task)
    gate.touch()
    for task in tasks:
        assert (await task).status is None

    # Two, two and three steps, each job after the other.
    assert trace.read_text().split("closed\n") == ["step 1\nstep 2\n"] * 2 + ["step 1\nstep 2\nstep 3\n", ""]
