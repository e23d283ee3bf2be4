"""A cancel, a deadline or a client that is gone stops the work within one step, and nothing else."""

from __future__ import annotations

import asyncio
import random
import sys

import grpc

from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import eventually, order, photo, reason, request, same_error

LONG = 500
DEADLINE_S = 2  # work has begun by then, on a busy machine too


def long_request(text: str):
    asked = request(text)
    asked.spec.options.steps = LONG
    return asked


def steps_begun(trace) -> int:
    return sum(line.startswith("step") for line in trace.read_text().splitlines()) if trace.exists() else 0


async def assert_stopped_within_one_step(server, trace) -> None:
    """The worker says so itself, and the script's own record agrees."""
    await eventually(lambda: server.metric("steps_after_cancel_count"))
    assert server.metric("steps_after_cancel_sum") <= server.metric("steps_after_cancel_count")
    await eventually(lambda: "closed" in trace.read_text())
    assert steps_begun(trace) < LONG
    assert (await server.info()).queue.running_count == 0
    assert (await server.stylize(request())).status is None


async def test_a_cancelled_call_stops_within_one_step(server, tmp_path):
    trace = tmp_path / "trace"
    call, _, task = server.begin(long_request(f"step=0.02 trace={trace}"))
    await eventually(lambda: steps_begun(trace) >= 3)
    call.cancel()
    begun = steps_begun(trace)

    await assert_stopped_within_one_step(server, trace)
    assert steps_begun(trace) <= begun + 5  # generous: the cancel has to travel first
    task.cancel()


async def test_a_cancel_stops_in_the_middle_of_a_step_and_is_told_after_that(server, tmp_path):
    trace = tmp_path / "trace"
    created = await server.create(order(f"busy=1 at=2 trace={trace}"))
    await eventually(lambda: steps_begun(trace) == 2)
    assert (await server.cancel(created.name)).state == Stylization.STATE_RUNNING
    outcome = await server.watch(created.name)

    assert outcome.kinds()[-1] == "cancelled"
    assert outcome.only("cancelled")[0].step == 1
    assert "closed" in trace.read_text()
    assert steps_begun(trace) == 2
    assert server.metric("steps_after_cancel_sum") == 0


async def test_a_deadline_stops_in_the_middle_of_a_step(serve, tmp_path):
    server = await serve(default_deadline_s=DEADLINE_S)
    trace = tmp_path / "trace"
    outcome = await server.stylize(request(f"busy=1 at=2 trace={trace}"), timeout=None)

    assert reason(outcome.status) == "DEADLINE_EXCEEDED"
    assert "closed" in trace.read_text()
    assert steps_begun(trace) == 2


async def test_a_closed_channel_stops_within_one_step(server, tmp_path):
    trace = tmp_path / "trace"
    async with grpc.aio.insecure_channel(server.app.grpc_address) as channel:
        stylize = channel.unary_stream(
            "/clipstyler.v1.StylizationService/Stylize",
            request_serializer=lambda message: message.SerializeToString(),
        )
        call = stylize(long_request(f"step=0.02 trace={trace}"))
        await call.read()
        await eventually(lambda: steps_begun(trace) >= 3)
        reading = asyncio.create_task(call.read())  # old versions of gRPC forget calls that nothing waits for
        await asyncio.sleep(0)

    await assert_stopped_within_one_step(server, trace)
    await asyncio.wait([reading])


CLIENT = """
import sys
from asyncio.subprocess import PIPE
import grpc
from clipstyler.v1 import stylization_service_pb2, stylization_service_pb2_grpc
channel = grpc.insecure_channel(sys.argv[1])
asked = stylization_service_pb2.StylizeRequest.FromString(sys.stdin.buffer.read())
for response in stylization_service_pb2_grpc.StylizationServiceStub(channel).Stylize(asked):
    if response.event.WhichOneof("event") == "progress":
        print(response.event.progress.step, flush=True)
"""


async def test_a_client_killed_in_mid_stream_stops_within_one_step(server, tmp_path):
    trace = tmp_path / "trace"
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        server.app.grpc_address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    client.stdin.write(long_request(f"step=0.02 trace={trace}").SerializeToString())
    client.stdin.close()
    await asyncio.wait_for(client.stdout.readline(), 30)
    client.kill()
    await client.wait()

    await assert_stopped_within_one_step(server, trace)


async def test_a_deadline_stops_the_work(serve, tmp_path):
    server = await serve()  # which has measured nothing yet: it would refuse what cannot be done in time
    trace = tmp_path / "trace"
    outcome = await server.stylize(long_request(f"step=0.02 trace={trace}"), timeout=DEADLINE_S)

    assert outcome.status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    await eventually(lambda: "closed" in trace.read_text())
    assert steps_begun(trace) < LONG
    await eventually(lambda: not server.app.scheduler.running)


async def test_the_servers_own_deadline_ends_a_call_that_names_none(serve, tmp_path):
    server = await serve(default_deadline_s=DEADLINE_S)
    trace = tmp_path / "trace"
    outcome = await server.stylize(long_request(f"step=0.02 trace={trace}"), timeout=None)

    assert reason(outcome.status) == "DEADLINE_EXCEEDED"
    assert same_error(outcome.only("failed")[0].error, outcome.status)
    assert "closed" in trace.read_text()
    # A step takes 0.02 s at least: so many fit, and one may have begun before the end.
    assert steps_begun(trace) <= DEADLINE_S / 0.02 + 1


async def test_a_deadline_beyond_the_limit_is_shortened_with_a_warning(serve):
    server = await serve(max_deadline_s=0.4)
    outcome = await server.stylize(long_request("step=0.02 x"), timeout=60)

    assert [warning.code for warning in outcome.only("warning")] == ["DEADLINE_SHORTENED"]
    assert reason(outcome.status) == "DEADLINE_EXCEEDED"


async def test_cancelling_a_queued_job_leaves_the_running_one_alone(server, gate, tmp_path):
    trace = tmp_path / "trace"
    running_request = request(f"hold={gate} x")
    _, events, running = server.begin(running_request)
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    call, queued_events, queued = server.begin(request(f"trace={trace}"))
    await eventually(lambda: queued_events)
    assert queued_events[0].queued.position == 1

    call.cancel()
    await eventually(lambda: len(server.app.queue) == 0)
    gate.touch()
    undisturbed = await running
    assert undisturbed.status is None
    alone = await server.stylize(running_request)
    assert undisturbed.result.image_data == alone.result.image_data
    assert not trace.exists()
    assert server.metric("steps_after_cancel_count") == 0
    queued.cancel()


async def test_a_job_whose_deadline_passes_in_the_queue_never_runs(serve, gate, tmp_path):
    server = await serve(default_deadline_s=0.5)
    trace = tmp_path / "trace"
    _, events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: events)
    outcome = await server.stylize(request(f"trace={trace}"), timeout=None)

    assert reason(outcome.status) == "DEADLINE_EXCEEDED"
    assert outcome.kinds() == ["queued", "failed"]
    assert not trace.exists()
    gate.touch()
    assert (await running).status is None


async def test_a_client_that_leaves_during_decoding_leaves_nothing_behind(server):
    call = server.stub.Stylize(request(image=photo(6000, 6000)))
    await eventually(lambda: server.app.decoder.busy)
    call.cancel()

    await eventually(lambda: not server.app.decoder.busy)
    assert (await server.stylize(request())).status is None
    assert server.metric("stylization_duration_seconds_count", outcome="cancelled") == 0


async def test_a_storm_of_callers_who_leave_at_random_leaves_an_idle_server(serve):
    server = await serve(queue_capacity=100)
    rng = random.Random(3)

    async def caller(number: int) -> None:
        asked = request(f"step=0.005 caller {number}")
        asked.spec.options.steps = 10
        call, _, task = server.begin(asked)
        await asyncio.sleep(rng.uniform(0, 1.5))
        if rng.random() < 0.7:
            call.cancel()
            task.cancel()
        else:
            assert (await task).status is None

    await asyncio.gather(*(caller(number) for number in range(50)))
    await eventually(lambda: not server.app.scheduler.running and not server.app.queue)
    assert server.metric("steps_after_cancel_sum") <= server.metric("steps_after_cancel_count")
    assert server.app.scheduler._open._deadlines == {}
    assert server.app.queue.reserved == 0
    assert (await server.stylize(request())).status is None
