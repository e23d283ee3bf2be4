"""The queue is bounded and fair, and reports when to retry."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2

from clipstyler.v1 import server_service_pb2
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import details, eventually, order, reason, refusal, request


async def started(server, jobs) -> list[str]:
    """Names of jobs in the order in which their runs began, once all are over."""
    for job in jobs:
        await server.watch(job.name)
    told = [await server.get(job.name) for job in jobs]
    return [job.name for job in sorted(told, key=lambda job: job.start_time.ToNanoseconds())]


async def test_a_full_queue_refuses_with_a_retry_delay_and_stays_healthy(serve, gate):
    server = await serve(queue_capacity=2, caller_share=1)
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
    assert server.app.scheduler.problems() == []
    info = await server.info()
    assert (info.queue.waiting_count, info.queue.running_count, info.queue.capacity) == (2, 1, 2)
    assert info.workers[0].state == server_service_pb2.ServerInfo.Worker.STATE_BUSY

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
        asked.spec.options.steps = max(2, number)
        _, events, task = server.begin(asked)
        await eventually(lambda events=events: events)
        tasks.append(task)
    gate.touch()
    for task in tasks:
        assert (await task).status is None

    # Two, two and three steps, each job after the other.
    assert trace.read_text().split("closed\n") == ["step 1\nstep 2\n"] * 2 + ["step 1\nstep 2\nstep 3\n", ""]


async def test_of_two_clients_one_with_fifty_jobs_the_others_single_job_starts_next(server, gate):
    many = [await server.create(order(f"hold={gate} number {number}"), client="many") for number in range(51)]
    single = await server.create(order("single"), client="single")
    assert (await server.get(many[0].name)).state == Stylization.STATE_RUNNING
    assert (await server.get(single.name)).queue_position == 1
    gate.touch()

    assert (await started(server, [single, *many]))[:2] == [many[0].name, single.name]


async def test_clients_are_identified_by_their_header(server, gate):
    first = await server.create(order(f"hold={gate} x"), client="a")
    others = [await server.create(order(f"a {number}"), client="a") for number in range(2)]
    same = await server.create(order("still a"), client="a")
    bad = await server.create(order("no name"), client="two words")  # counts as no header: its address
    assert (await server.get(same.name)).queue_position > (await server.get(bad.name)).queue_position
    gate.touch()
    await started(server, [first, *others, same, bad])


async def test_urgent_jobs_go_first_and_patient_ones_all_the_same(server, gate):
    first = await server.create(order(f"hold={gate} x"))
    low = await server.create(order("low", priority=Stylization.PRIORITY_LOW))
    high = [await server.create(order(f"high {number}", priority=Stylization.PRIORITY_HIGH)) for number in range(8)]
    gate.touch()
    names = await started(server, [first, low, *high])

    assert names.index(low.name) == 5  # after the first four of the urgent ones


async def test_queue_position_and_expected_start_are_published_as_they_change(server, gate, tmp_path):
    await server.watch((await server.create(order("step=0.05 measured"))).name)
    second_gate = tmp_path / "second"
    first = await server.create(order(f"hold={gate} x"))
    second = await server.create(order(f"hold={second_gate} x"))
    last = await server.create(order("step=0.05 x"))
    _, events, task = server.begin_watch(last.name)
    await eventually(lambda: events)
    assert events[0].queued.position == 2
    expected = events[0].queued.estimated_start_time.ToNanoseconds() - last.create_time.ToNanoseconds()
    assert 0.05e9 < expected < 5e9
    assert last.estimated_start_time.ToNanoseconds() > last.create_time.ToNanoseconds()
    took = events[0].queued.estimated_end_time.ToNanoseconds() - events[0].queued.estimated_start_time.ToNanoseconds()
    assert 0.01e9 < took < 5e9  # the server of these tests has seen faster steps, too
    assert last.estimated_end_time.ToNanoseconds() > last.estimated_start_time.ToNanoseconds()
    gate.touch()
    await eventually(lambda: events[-1].queued.position == 1)
    second_gate.touch()
    assert (await task).kinds()[-1] == "result"
    await started(server, [first, second])


async def test_without_a_measurement_no_start_is_promised(serve, gate):
    server = await serve()
    first = await server.create(order(f"hold={gate} at=1 x"))
    second = await server.create(order("x"))
    assert (second.state, second.queue_position) == (Stylization.STATE_QUEUED, 1)
    assert not second.HasField("estimated_start_time")
    assert not second.HasField("estimated_end_time")
    gate.touch()
    await started(server, [first, second])


async def test_a_job_whose_deadline_cannot_be_met_is_refused_at_once(server):
    await server.watch((await server.create(order("step=0.05 measured"))).name)
    asked = order("step=0.05 x", options=StylizationOptions(steps=400))
    asked.timeout.FromSeconds(2)
    status = await refusal(server.create(asked))

    assert status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert reason(status) == "DEADLINE_UNREACHABLE"
    one_shot = await server.stylize(request("x", options=StylizationOptions(steps=400)), timeout=2)
    assert reason(one_shot.status) == "DEADLINE_UNREACHABLE"
    assert one_shot.events == []
    asked.timeout.FromSeconds(600)
    await server.cancel((await server.create(asked)).name)


async def test_the_wait_before_a_deadline_counts_too(server, gate):
    await server.watch((await server.create(order("step=0.05 measured"))).name)
    running = await server.create(order(f"hold={gate} at=1 x", options=StylizationOptions(steps=400)))
    asked = order("x")
    asked.timeout.FromSeconds(2)
    assert reason(await refusal(server.create(asked))) == "DEADLINE_UNREACHABLE"
    await server.cancel(running.name)
    gate.touch()


async def test_the_retry_delay_follows_the_measured_throughput(serve, gate):
    server = await serve(queue_capacity=0)
    await server.watch((await server.create(order("step=0.1 measured"))).name)
    running = await server.create(order(f"hold={gate} at=1 x", options=StylizationOptions(steps=200)))
    status = await refusal(server.create(order()))
    delay = details(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds()

    assert 15 < delay < 60  # 200 steps of 0.1 s and a little
    await server.cancel(running.name)
    gate.touch()


async def test_an_expired_job_is_dropped_even_if_its_timer_is_late(server, gate, tmp_path):
    trace = tmp_path / "trace"
    first = await server.create(order(f"hold={gate} x"))
    late = await server.create(order(f"trace={trace}"))
    scheduler = server.app.scheduler
    scheduler.jobs[late.name.split("/")[1]].deadline = 0  # as if its timer came late
    gate.touch()
    outcome = await server.watch(late.name)

    assert outcome.only("failed")[0].error.reason == "DEADLINE_EXCEEDED"
    assert not trace.exists()
    await server.watch(first.name)
    assert (await server.get(first.name)).state == Stylization.STATE_SUCCEEDED
