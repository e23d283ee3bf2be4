"""Health, readiness, metrics, reflection and logs report the truth and no texts of users."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import get_args

import aiohttp
import grpc
import pytest
from clipstyler_server.api.server import ENCODER_SERVICE, SERVER_SERVICE, STYLE_SERVICE, STYLIZATION_SERVICE
from clipstyler_server.app import App
from clipstyler_server.identity.roles import is_tenant_name
from clipstyler_server.observability.http_pages import MOST_CONNECTIONS
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.tenant_metrics import MAX_TENANTS, NO_TENANT, OTHER_TENANTS
from clipstyler_server.storage.records import State
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from clipstyler import __version__
from clipstyler.evaluation.direction_cache import Origin
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2 import GetStylizationImageRequest
from tests.service import scripted
from tests.service.harness import eventually, order, reason, request, settings

SERVICES = (STYLIZATION_SERVICE, STYLE_SERVICE, SERVER_SERVICE, ENCODER_SERVICE)


async def page(server, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{server.app.http_address}{path}") as response:
        return response.status, await response.text()


async def test_the_server_describes_itself(server):
    info = await server.info()

    assert info.version
    assert [encoders.name for encoders in info.encoder_sets] == ["scripted", "other"]
    encoders = info.encoder_sets[0]
    assert (encoders.source_text, encoders.models[0].digest) == ("a Photo", "ab" * 32)
    assert encoders.calibration.weight_patch == 9000
    assert encoders.calibration.HasField("threshold")
    assert [(preset.size, preset.steps, preset.patches) for preset in info.presets] == [(256, 40, 16), (512, 200, 64)]
    (worker,) = info.workers
    assert (worker.device, worker.provider, worker.thread_count) == ("cpu", "scripted", 1)
    assert tuple(worker.accelerations) == scripted.ACCELERATIONS
    assert info.limits.max_message_bytes == 3 * 2**20
    assert info.limits.max_preview_size == 512


@pytest.mark.parametrize("service", ["", STYLIZATION_SERVICE, STYLE_SERVICE, SERVER_SERVICE])
async def test_every_service_is_healthy_when_the_worker_is_ready(server, service):
    stub = health_pb2_grpc.HealthStub(server.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_encoder_service_is_healthy_only_when_its_calls_work(serve):
    server = await serve()  # without an evaluator
    stub = health_pb2_grpc.HealthStub(server.channel)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Check(health_pb2.HealthCheckRequest(service=ENCODER_SERVICE))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_the_health_of_an_unknown_service_is_not_found(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))

    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    method = "/grpc.health.v1.Health/Check"
    await eventually(lambda: server.calls(method, "NOT_FOUND") == 1)


async def test_the_probes_follow_the_worker(server):
    assert await page(server, "/livez") == (200, '{"alive": true}')
    assert (await page(server, "/readyz"))[0] == 200
    assert await page(server, "/startupz") == (200, '{"started": true}')


async def test_a_starting_worker_is_live_but_not_ready(serve):
    server = await serve(restart_delay_s=30)
    server.app.optimizers.workers[0]._child.kill()
    await eventually(server.app.scheduler.problems)

    assert (await page(server, "/livez"))[0] == 200
    status, body = await page(server, "/readyz")
    assert status == 503
    assert "the worker crashed and is being restarted" in body
    assert (await page(server, "/startupz"))[0] == 200  # it was ready once


async def test_a_server_that_never_was_ready_has_not_started_and_lives():
    app = App(settings(), scripted.make_never)
    await app.start()
    try:
        async with aiohttp.ClientSession() as session:
            for path, status in (("/startupz", 503), ("/readyz", 503), ("/livez", 200)):
                async with session.get(f"http://{app.http_address}{path}") as response:
                    assert response.status == status, path
    finally:
        await app.stop(0)


async def test_connections_that_ask_for_nothing_leave_room_for_those_that_do(server):
    host, port = server.app.http_address.rsplit(":", 1)
    idle = []
    for number in range(3 * MOST_CONNECTIONS):
        idle.append(await asyncio.open_connection(host, int(port)))
        idle[-1][1].write((b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nname: ")[number % 2])
    assert (await page(server, "/livez"))[0] == 200

    def is_open(connection) -> bool:
        reader, _ = connection
        return not (reader.at_eof() or reader.exception())

    await eventually(lambda: sum(map(is_open, idle)) < MOST_CONNECTIONS)
    assert is_open(idle[-1])  # the oldest went
    for _, writer in idle:
        writer.close()


async def test_metrics_report_what_happened_in_seconds_and_bytes(server):
    await server.stylize(request("step=0.01 secret-look"))
    await server.stylize(request(image=b"none"))
    status, body = await page(server, "/metrics")

    assert status == 200
    samples = {sample.name for family in text_string_to_metric_families(body) for sample in family.samples}
    assert {
        "grpc_server_call_started_total",
        "grpc_server_call_duration_seconds_count",
        "grpc_server_call_rcvd_total_compressed_message_size_bytes_sum",
        "grpc_server_call_sent_total_compressed_message_size_bytes_sum",
        "clipstyler_stylization_duration_seconds_count",
        "clipstyler_step_duration_seconds_count",
        "clipstyler_first_preview_seconds_count",
        "clipstyler_frames_sent_total",
        "clipstyler_sent_image_bytes_total",
        "clipstyler_photo_bytes_count",
        "clipstyler_queue_depth",
        "clipstyler_jobs_running",
        "clipstyler_worker_restarts_total",
        "clipstyler_steps_after_cancel_count",
    } <= samples
    method = "/clipstyler.v1.StylizationService/Stylize"
    await eventually(lambda: server.calls(method, "OK") == 1)
    await eventually(lambda: server.calls(method, "INVALID_ARGUMENT") == 1)
    assert server.metric("stylization_duration_seconds_count", outcome="succeeded") == 1
    assert server.metric("step_duration_seconds_count") == 3
    assert server.metric("first_preview_seconds_count") == 1
    assert server.metric("frames_sent_total", kind="result") == 1
    assert "secret-look" not in body


async def test_waiting_preparation_and_cancellation_are_timed(server, gate):
    await server.create(order(f"hold={gate} parts=2 x"))
    waiting = await server.create(order("busy=1 x", priority=Stylization.PRIORITY_HIGH))
    await eventually(lambda: server.app.scheduler.running)
    assert [server.metric("queue_depth", priority=name) for name in ("low", "normal", "high")] == [0, 0, 1]
    waits_since = time.monotonic()
    await server.info()
    waited_s = time.monotonic() - waits_since
    gate.touch()
    await eventually(lambda: server.metric("step_duration_seconds_count") == 4)
    await server.cancel(waiting.name)
    await server.watch(waiting.name)

    assert server.metric("queue_wait_seconds_count") == server.metric("preparation_seconds_count") == 2
    assert waited_s <= server.metric("queue_wait_seconds_sum") < 5
    assert server.metric("cancel_to_idle_seconds_count") == 1
    assert server.metric("cancel_to_idle_seconds_sum") < 5


async def test_steps_that_no_call_follows_are_counted(server, gate):
    job = await server.create(order(f"hold={gate} at=3 x"))
    await eventually(lambda: server.metric("unwatched_steps_total") == 2)
    _, events, watching = server.begin_watch(job.name)
    await eventually(lambda: events)
    gate.touch()
    await watching

    assert server.metric("unwatched_steps_total") == 2
    assert server.metric("step_duration_seconds_count") == 3


async def test_what_the_optimizer_computes_with_and_its_memory_are_reported(server):
    body = (await page(server, "/metrics"))[1]
    assert 'clipstyler_optimizer_provider{device="cpu",provider="scripted"} 1.0' in body
    for kind, size in (("used", 2), ("peak", 1), ("total", 4)):
        assert f'clipstyler_device_memory_bytes{{device="cpu",kind="{kind}"}} {size}.0' in body
    assert 'clipstyler_device_ready{device="cpu"} 1.0' in body
    assert 'clipstyler_device_busy{device="cpu"} 0.0' in body
    assert f'version="{__version__}"' in body


async def test_stored_jobs_are_counted_by_state(server):
    job = await server.create(order("x"))
    await server.watch(job.name)
    counts = await server.app.storage.job_counts()
    assert counts[State.SUCCEEDED] >= 1
    assert counts[State.QUEUED] == counts[State.RUNNING] == 0
    body = (await page(server, "/metrics"))[1]
    assert 'clipstyler_stored_jobs{state="succeeded"}' in body


async def test_no_tenant_is_named_unless_that_is_switched_on(server):
    await server.stylize(request())
    assert "tenant" not in server.app.metrics.exposition()[0].decode()


def test_tenants_are_counted_by_name_up_to_a_bound():
    metrics = Metrics(with_tenants=True)
    for number in range(MAX_TENANTS + 5):
        metrics.tenants.job_finished(f"tenant-{number}", "succeeded")
    metrics.tenants.job_finished("tenant-0", "succeeded")
    for tenant in ("", "none", "other"):
        metrics.tenants.call_ended(tenant, "OK")
    metrics.tenants.steps_completed("tenant-1", 1)

    body = metrics.exposition()[0].decode()
    assert 'clipstyler_tenant_jobs_total{outcome="succeeded",tenant="tenant-0"} 2.0' in body
    assert 'clipstyler_tenant_jobs_total{outcome="succeeded",tenant="_other"} 5.0' in body
    assert f"tenant-{MAX_TENANTS}" not in body
    assert 'clipstyler_tenant_calls_total{grpc_status="OK",tenant="_none"} 1.0' in body
    assert 'clipstyler_tenant_calls_total{grpc_status="OK",tenant="_other"} 2.0' in body
    assert 'clipstyler_tenant_steps_total{tenant="tenant-1"} 1.0' in body


def test_no_tenant_is_counted_with_those_without_a_name_of_their_own():
    metrics = Metrics(with_tenants=True)
    for tenant in ("", "none", "other"):
        metrics.tenants.call_ended(tenant, "OK")
    body = metrics.exposition()[0].decode()
    for label in ("_none", "none", "other"):
        assert f'clipstyler_tenant_calls_total{{grpc_status="OK",tenant="{label}"}} 1.0' in body
    assert not is_tenant_name(NO_TENANT)
    assert not is_tenant_name(OTHER_TENANTS)


def test_a_rate_sees_the_first_event_because_its_series_begins_at_zero():
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in Metrics().registry.collect()
        for sample in family.samples
    }
    for name, labels in {
        "stylization_duration_seconds_count": [state for state in State if state.is_final],
        "calls_ended_total": [code.name for code in grpc.StatusCode],
        "frames_sent_total": ["progress", "preview", "draft", "chunk", "result"],
        "sent_image_bytes_total": ["preview", "draft", "chunk", "result"],
        "style_application_seconds_count": ["succeeded"],
        "text_directions_total": ["front", *get_args(Origin)],
    }.items():
        for label in labels:
            assert values.get((f"clipstyler_{name}", label)) == 0, (name, label)


async def test_the_bytes_of_calls_are_measured(server):
    method = "/clipstyler.v1.StylizationService/GetStylizationImage"
    job = await server.create(order("measured"))
    await server.watch(job.name)
    server.count_from_here()
    parts = []
    asked = GetStylizationImageRequest(name=job.name)
    async for part in server.stub.GetStylizationImage(asked):
        parts.append(part.ByteSize())
    await eventually(lambda: server.calls(method, "OK") == 1)
    labels = {"grpc_method": method[1:], "grpc_status": "OK"}
    sizes = {
        way: server._since(f"grpc_server_call_{way}_total_compressed_message_size_bytes_sum", labels)
        for way in ("rcvd", "sent")
    }
    assert sizes == {"rcvd": asked.ByteSize(), "sent": sum(parts)}
    assert server._since("grpc_server_call_started_total", {"grpc_method": method[1:]}) == 1


async def test_methods_that_callers_make_up_are_counted_under_one_name(server):
    for name in ("One", "Two"):
        with pytest.raises(grpc.aio.AioRpcError):
            await server.channel.unary_unary(f"/made.up.Service/{name}")(b"")

    await eventually(lambda: server.calls("other", "UNIMPLEMENTED") == 2)
    assert "made.up" not in server.app.metrics.exposition()[0].decode()


async def test_a_cancelled_call_is_counted_as_cancelled(server):
    call, events, task = server.begin(request("step=0.05 x"))
    await eventually(lambda: events)
    call.cancel()
    method = "/clipstyler.v1.StylizationService/Stylize"

    await eventually(lambda: server.calls(method, "CANCELLED") == 1)
    await eventually(lambda: server.metric("stylization_duration_seconds_count", outcome="cancelled") == 1)
    task.cancel()


async def test_logs_join_request_and_job_and_keep_texts_to_themselves(server, log):
    call = server.stub.Stylize(request("secret-look"), metadata=[("x-request-id", "abc-1")])
    async for _ in call:
        pass
    await eventually(lambda: any(line["event"] == "rpc" for line in log))

    (rpc,) = [line for line in log if line["event"] == "rpc"]
    assert (rpc["request_id"], rpc["code"]) == ("abc-1", "OK")
    (queued,) = [line for line in log if line["event"] == "job_queued"]
    (ended,) = [line for line in log if line["event"] == "job_finished"]
    assert queued["job_id"] == ended["job_id"]
    assert not [line for line in log if "secret-look" in str(line) and line["log_level"] != "debug"]


async def test_a_request_id_that_could_harm_a_log_is_replaced(server, log):
    metadata = [("x-request-id", "x" * 1000)]
    async for _ in server.stub.Stylize(request(), metadata=metadata):
        pass
    await eventually(lambda: any(line["event"] == "rpc" for line in log))

    (rpc,) = [line for line in log if line["event"] == "rpc"]
    assert len(rpc["request_id"]) == 36


async def test_a_failed_call_reports_why_in_machine_readable_details(server):
    outcome = await server.stylize(request(""))

    assert reason(outcome.status) == "INVALID_FIELD"


def test_what_libraries_warn_of_is_a_line_of_json_too() -> None:
    code = (
        "import logging, clipstyler_server.observability.logs as logs\n"
        "logs.configure('info', 'json', 'front')\n"
        "try:\n    1 / 0\n"
        "except ZeroDivisionError:\n    logging.getLogger('aiohttp.server').exception('Error handling request')\n"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr
    (line,) = [json.loads(line) for line in told.splitlines()]
    assert (line["event"], line["level"], line["logger"]) == ("Error handling request", "error", "aiohttp.server")
    assert line["process"] == "front"
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"
