"""A server process from its start to its end, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator

import grpc
import psutil
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from tests.service.harness import PATIENCE_S, collect, details, eventually, reason, request
from tests.service.process import START_S


@pytest.fixture
def heeds_hangups() -> Iterator[None]:
    """Tests that run under `nohup` ignore the signal, and so would what they start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def kinds(events: list) -> list[str]:
    return [event.WhichOneof("event") for event in events]


async def test_sigterm_lets_the_running_job_finish_and_sends_the_others_away(launch, gate):
    server = await (await launch()).ready()
    events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: "progress" in kinds(events))
    queued_events, queued = server.begin(request())
    await eventually(lambda: queued_events)
    children = server.children()

    server.process.send_signal(signal.SIGTERM)
    sent_away = await queued
    assert sent_away.kinds() == ["queued", "cancelled"]
    assert sent_away.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert reason(sent_away.status) == "DRAINING"
    refused = await collect(server.stub.Stylize(request()))
    assert (refused.events, reason(refused.status)) == ([], "DRAINING")
    assert await server.health() == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await server.readyz() == 503
    gate.touch()
    finished = await running
    assert (finished.status, finished.kinds()[-1]) == (None, "result")

    code, out = await server.ended()
    assert (code, json.loads(out)) == (0, {"torch": False})
    await eventually(lambda: not [child for child in children if child.is_running()])


async def test_a_closed_terminal_drains_the_server_and_kills_no_worker(launch, gate, heeds_hangups):
    server = await (await launch()).ready()
    events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: "progress" in kinds(events))
    for process in (*server.children(), psutil.Process(server.process.pid)):  # as a terminal does to its group
        process.send_signal(signal.SIGHUP)
    await eventually(lambda: server.line("server_draining"))
    gate.touch()
    assert (await running).kinds()[-1] == "result"
    assert (await server.ended())[0] == 0


async def test_ctrl_c_while_the_workers_start_is_a_quiet_end(launch):
    server = await launch()
    await eventually(lambda: len(server.children()) >= 2)  # the first is that of multiprocessing, not a worker
    for process in (*server.children(), psutil.Process(server.process.pid)):  # as a terminal does to its group
        process.send_signal(signal.SIGINT)
    assert (await server.ended())[0] == 0
    assert [line["event"] for line in server.lines] == ["server_draining", "server_stopped"]


async def test_nohup_keeps_a_server_running_when_its_terminal_is_closed(launch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server = await (await launch()).ready()
    finally:
        signal.signal(signal.SIGHUP, before)
    server.process.send_signal(signal.SIGHUP)
    _, running = server.begin(request())
    assert (await running).kinds()[-1] == "result"


async def test_a_job_that_outlasts_the_grace_is_cancelled_within_one_step(launch):
    server = await (await launch(drain_grace_s=0.2)).ready()
    asked = request("step=0.05 x")
    asked.spec.options.steps = 500
    events, running = server.begin(asked)
    await eventually(lambda: "progress" in kinds(events))

    server.process.send_signal(signal.SIGINT)
    cancelled = await running
    assert cancelled.kinds()[-1] == "cancelled"
    assert 0 < cancelled.only("cancelled")[0].step < 500
    assert reason(cancelled.status) == "DRAINING"
    assert (await server.ended())[0] == 0
    assert server.line("job_stopped")["steps_after_cancel"] <= 1


async def test_a_traceback_in_the_log_shows_no_text_of_a_user(launch):
    server = await (await launch()).ready()
    _, failing = server.begin(request("fail=1 secret-look"))
    await failing

    broke = await eventually(lambda: server.line("job_crashed"))
    assert "scripted failure" in str(broke["exception"])
    assert "secret-look" not in str(server.lines)


async def test_a_second_signal_cuts_the_grace_short(launch, gate):
    server = await (await launch(drain_grace_s=600)).ready()
    asked = request("step=0.05 x")
    asked.spec.options.steps = 500
    events, running = server.begin(asked)
    await eventually(lambda: "progress" in kinds(events))

    server.process.send_signal(signal.SIGTERM)
    await eventually(lambda: server.line("server_draining"))
    server.process.send_signal(signal.SIGTERM)
    assert (await running).kinds()[-1] == "cancelled"
    assert (await server.ended())[0] == 0


async def test_the_worker_exits_by_itself_when_the_front_is_killed(launch):
    server = await (await launch()).ready()
    asked = request("step=0.05 x")
    asked.spec.options.steps = 500
    events, running = server.begin(asked)
    await eventually(lambda: "progress" in kinds(events))
    children = server.children()
    assert len(children) >= 2

    server.process.kill()
    await server.process.wait()
    await eventually(lambda: not [child for child in children if child.is_running()])
    await running


async def test_a_signal_to_the_whole_group_still_lets_the_job_finish(launch, gate):
    server = await (await launch()).ready()
    events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: "progress" in kinds(events))

    for process in (psutil.Process(server.process.pid), *server.children()):
        process.terminate()
    await eventually(lambda: server.line("server_draining"))
    gate.touch()
    assert (await running).kinds()[-1] == "result"
    assert (await server.ended())[0] == 0


async def test_a_taken_port_is_a_clear_error(launch):
    server = await (await launch()).ready()
    address = server.line("server_ready")
    for setting, name in (("port", "grpc"), ("http_port", "http")):
        port = address[name].rsplit(":", 1)[1]
        second = await launch(**{setting: port})
        code, _ = await second.ended()
        assert code == 1
        line = await eventually(lambda second=second: second.line("server_cannot_start"))
        assert f"127.0.0.1:{port}" in line["problem"]


async def test_the_real_front_knows_the_real_workload_without_pytorch():
    code = "import sys, clipstyler_server.serving, clipstyler_server.__main__; sys.exit('torch' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)

    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_during_the_drain_delay_the_server_is_not_ready_and_answers_as_before(launch, tmp_path):
    server = await (await launch(drain_delay_s=600, drain_grace_s=600)).ready()
    server.process.send_signal(signal.SIGTERM)
    await eventually(lambda: server.line("server_draining"))

    assert await server.health() == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await server.readyz() == 503
    taken = await collect(server.stub.Stylize(request()))
    assert (taken.status, taken.kinds()[-1]) == (None, "result")

    server.process.send_signal(signal.SIGTERM)  # ends the delay
    assert (await server.ended())[0] == 0


async def test_after_the_drain_delay_calls_are_refused_with_a_retry_delay(launch, gate):
    server = await (await launch(drain_delay_s=0.5, drain_grace_s=600)).ready()
    events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: "progress" in kinds(events))
    server.process.send_signal(signal.SIGTERM)
    begun = asyncio.get_running_loop().time()
    waiting = await collect(server.stub.Stylize(request()))
    waited_s = asyncio.get_running_loop().time() - begun

    assert (waiting.kinds(), reason(waiting.status)) == (["queued", "cancelled"], "DRAINING")
    assert waited_s > 0.3
    refused = await collect(server.stub.Stylize(request()))
    assert (refused.events, refused.status.code) == ([], grpc.StatusCode.UNAVAILABLE.value[0])
    assert details(refused.status, error_details_pb2.RetryInfo).retry_delay.seconds == 1
    gate.touch()
    assert (await running).kinds()[-1] == "result"
    assert (await server.ended())[0] == 0


async def test_a_second_signal_in_the_delay_leaves_no_grace_and_starts_no_waiting_job(launch):
    server = await (await launch(drain_delay_s=600, drain_grace_s=600)).ready()
    asked = request("step=0.05 x")
    asked.spec.options.steps = 500
    events, running = server.begin(asked)
    await eventually(lambda: "progress" in kinds(events))
    _, waiting = server.begin(request())

    server.process.send_signal(signal.SIGTERM)
    await eventually(lambda: server.line("server_draining"))
    server.process.send_signal(signal.SIGTERM)
    assert reason((await running).status) == reason((await waiting).status) == "DRAINING"
    assert "started" not in (await waiting).kinds()
    assert (await server.ended())[0] == 0


async def test_an_export_of_encoders_ends_with_the_server_and_leaves_no_scratch_files(launch, tmp_path):
    server = await launch("clipstyler_server", encoder_sets="pocket", cache_dir=tmp_path, evaluator=True)
    await eventually(lambda: list(tmp_path.rglob(".clipstyler-*")), START_S)
    (exporting,) = (child for child in server.children() if "clipstyler.encoders.onnx.prepare" in child.cmdline())
    server.process.kill()
    await asyncio.to_thread(exporting.wait, PATIENCE_S)
    assert [path.suffix for path in (tmp_path / "exports").iterdir()] == [".lock"]
