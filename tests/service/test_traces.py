"""A trace of a whole job, in the caller's trace, from OpenTelemetry's own exporters."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest
import pytest_asyncio
from aiohttp import web
from clipstyler_server.app import App
from clipstyler_server.observability import otel, traces
from clipstyler_server.observability.otel import OtelTracer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from clipstyler.v1.options_pb2 import StylizationOptions
from tests.service import scripted
from tests.service.harness import Harness, collect, eventually, order, photo, request, settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
STYLIZE = "clipstyler.v1.StylizationService/Stylize"
CREATE = "clipstyler.v1.StylizationService/CreateStylization"


class Traced(Harness):
    """A server in this process whose spans are kept in memory."""

    def __init__(self, app: App, channel: grpc.aio.Channel, spans: InMemorySpanExporter) -> None:
        super().__init__(app, channel)
        self.spans = spans

    def named(self) -> dict[str, object]:
        """Ended spans by name; of equal names, the last."""
        return {span.name: span for span in self.spans.get_finished_spans()}

    def below(self, name: str) -> list[str]:
        """Names of the spans below one, in the order in which they began."""
        spans, parent = self.spans.get_finished_spans(), self.named()[name]
        children = [span for span in spans if span.parent and span.parent.span_id == parent.context.span_id]
        return [span.name for span in sorted(children, key=lambda span: span.start_time)]


@pytest_asyncio.fixture(loop_scope="module")
async def traced():
    started: list[Traced] = []

    async def start(**changes: object) -> Traced:
        spans = InMemorySpanExporter()
        app = App(settings(**changes), scripted.make, OtelTracer(SimpleSpanProcessor(spans)))
        await app.start()
        started.append(Traced(app, grpc.aio.insecure_channel(app.grpc_address), spans))
        await asyncio.wait_for(app.ready(), 60)
        return started[-1]

    yield start
    for server in started:
        await server.stop()


async def test_one_trace_holds_a_whole_job_in_the_callers(traced, log):
    server = await traced(evaluator=True, encoder_sets="pocket")
    await eventually(lambda: not server.app.evaluator.problems(), 90)
    large = photo(400, 300)
    asked = request("parts=2 tiles=2 step=0.1 secret-look", image=large, options=StylizationOptions(output_size=400))
    call = server.stub.Stylize(asked, metadata=[("traceparent", CALLER), ("x-request-id", "abc-1")])
    assert (await collect(call)).kinds()[-1] == "result"

    spans = await eventually(lambda: STYLIZE in server.named() and server.named())
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}
    assert f"{spans[STYLIZE].parent.span_id:016x}" == CALLER.split("-")[2]
    assert server.below(STYLIZE) == ["admission", "stylization"]
    assert server.below("admission") == ["decode", "store"]
    phases = server.below("stylization")
    meanwhile = {"extract", "report"}
    assert [name for name in phases if name not in meanwhile] == ["queue", "prepare", "steps", "render", "store"]
    assert meanwhile < set(phases)
    assert server.below("report") == ["evaluate"]
    assert [event.name for event in spans["steps"].events] == ["preview"] * len(spans["steps"].events) != []
    assert spans["stylization"].attributes["outcome"] == "succeeded"
    assert spans[STYLIZE].attributes["rpc.grpc.status_code"] == 0
    assert all(span.start_time <= span.end_time for span in spans.values())
    assert "secret-look" not in "".join(span.to_json() for span in spans.values())

    for event in ("job_finished", "rpc"):
        (line,) = [line for line in log if line["event"] == event]
        assert (line["trace_id"], line["request_id"]) == (TRACE, "abc-1")


async def test_the_trace_of_a_durable_job_outlasts_its_call(traced):
    server = await traced()
    job = await server.create(order("x"))
    await server.watch(job.name)

    await eventually(lambda: "stylization" in server.named())
    assert server.below(CREATE) == ["admission", "stylization"]
    whole, call = server.named()["stylization"], server.named()[CREATE]
    assert whole.end_time > call.end_time
    assert f"{whole.context.trace_id:032x}" != TRACE  # a trace of its own: this caller has none


async def test_failures_and_cancelled_jobs_end_their_spans(traced):
    server = await traced()
    await server.stylize(request("fail=1 x"))
    spans = await eventually(lambda: STYLIZE in server.named() and server.named())
    assert (spans["stylization"].attributes["outcome"], spans["stylization"].status.description) == (
        "failed",
        "INTERNAL",
    )
    assert spans[STYLIZE].status.description == "INTERNAL"
    server.spans.clear()
    await server.stylize(request(image=b"none"))
    spans = await eventually(lambda: STYLIZE in server.named() and server.named())
    assert spans[STYLIZE].status.is_unset  # the caller's doing
    assert spans["decode"].status.description == "ImageError"
    server.spans.clear()
    job = await server.create(order("busy=1 x"))
    await eventually(lambda: server.app.scheduler.running)
    await server.cancel(job.name)
    spans = await eventually(lambda: "stylization" in server.named() and server.named())
    assert spans["stylization"].attributes["outcome"] == "cancelled"


async def test_resumed_jobs_are_traced_below_the_recovery(traced, gate):
    server = await traced()
    await server.create(order(f"hold={gate} x"))
    await eventually(lambda: server.app.scheduler.running)
    await server.stop(keep=True)
    assert server.named()["stylization"].attributes["outcome"] == "requeued"
    gate.touch()

    server = await traced(data_dir=server.app.settings.data_dir)
    await eventually(lambda: "stylization" in server.named())
    assert "stylization" in server.below("recovery")


async def test_exemplars_lead_from_a_metric_to_the_trace(traced):
    server = await traced()
    await collect(server.stub.Stylize(request(), metadata=[("traceparent", CALLER)]))
    await eventually(lambda: server.calls(f"/{STYLIZE}", "OK"))
    body, content_type = server.app.metrics.exposition("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    found = {
        sample.name
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.exemplar and sample.exemplar.labels == {"trace_id": TRACE}
    }
    assert found == {
        f"{name}_bucket"
        for name in (
            "grpc_server_call_duration_seconds",
            "clipstyler_queue_wait_seconds",
            "clipstyler_preparation_seconds",
            "clipstyler_step_duration_seconds",
            "clipstyler_first_preview_seconds",
            "clipstyler_stylization_duration_seconds",
        )
    }
    plain, _ = server.app.metrics.exposition()
    assert TRACE not in plain.decode()


async def test_without_traces_the_log_has_the_callers_id_all_the_same(server, log):
    await collect(server.stub.Stylize(request("fail=1 x"), metadata=[("traceparent", CALLER)]))
    (line,) = await eventually(lambda: [line for line in log if line["event"] == "rpc"])
    assert line["trace_id"] == TRACE


async def test_workers_log_with_the_ids_of_request_and_trace(launch):
    server = await (await launch()).ready()
    metadata = [("traceparent", CALLER), ("x-request-id", "abc-1")]
    await collect(server.stub.Stylize(request("fail=1 x"), metadata=metadata))

    line = await eventually(lambda: server.line("job_crashed"))
    assert (line["process"], line["trace_id"], line["request_id"]) == ("optimizer", TRACE, "abc-1")


@pytest.mark.parametrize("traceparent", ["", "00-zz", CALLER.upper(), f"00-{TRACE}-00f067aa0ba902b7-00"])
def test_a_trace_is_joined_and_named_only_if_it_is_well_formed_and_kept(traceparent: str):
    span = traces.NoSpan(traceparent)
    assert span.trace_id == (TRACE if traceparent.endswith("-00") else "")
    assert not span.is_sampled
    assert traces.JobTrace(span).exemplar == ""


class Collector:
    """A collector of OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list = []
        self.resources: list = []

    async def receive(self, request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            self.resources.append({entry.key: entry.value.string_value for entry in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response()


async def test_traces_are_exported_by_otlp_at_the_latest_when_the_server_ends(launch, monkeypatch):
    collector = Collector()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", collector.receive)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "studio")
    server = await (await launch(traces="otlp")).ready()
    await collect(server.stub.Stylize(request(), metadata=[("traceparent", CALLER)]))
    server.process.send_signal(signal.SIGTERM)
    assert (await server.ended())[0] == 0
    await runner.cleanup()

    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert {"stylization", "admission", "decode", "queue", "prepare", "steps", "store", STYLIZE} <= {
        span.name for span in collector.spans
    }
    assert collector.resources[0]["service.name"] == "studio"


async def test_a_collector_that_is_not_there_delays_nothing_for_long(launch, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    server = await (await launch(traces="otlp")).ready()
    assert (await collect(server.stub.Stylize(request()))).kinds()[-1] == "result"
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(15):
        assert (await server.ended())[0] == 0
    assert server.raw_lines == []


def test_nothing_of_opentelemetry_is_imported_while_traces_are_off():
    code = (
        "import sys, clipstyler_server.app\nfrom clipstyler_server.observability.traces import tracer_for\n"
        "tracer_for('off').begin('x').end()\n"
        "sys.exit('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_traces_without_their_packages_are_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "clipstyler_server.observability.otel", None)
    with pytest.raises(traces.TracesUnavailableError, match=r"pip install \"clipstyler\[otel\]\""):
        traces.tracer_for("otlp")


def test_a_variable_that_opentelemetry_cannot_use_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")  # less than a batch
    with pytest.raises(traces.TracesUnavailableError, match=r"OTEL_.*max_queue_size"):
        traces.tracer_for("otlp")


class Stuck(SpanExporter):
    """A collector that takes spans and never answers."""

    def __init__(self) -> None:
        self.asked, self.freed = threading.Event(), threading.Event()

    def export(self, spans: object) -> None:
        self.asked.set()
        self.freed.wait()

    def shutdown(self) -> None:
        pass


def test_a_collector_that_never_answers_holds_neither_calls_nor_the_end(monkeypatch):
    monkeypatch.setattr(otel, "_CLOSE_S", 0.2)
    stuck = Stuck()
    tracer = OtelTracer(BatchSpanProcessor(stuck, schedule_delay_millis=1))
    begun = time.monotonic()
    for number in range(5000):
        tracer.begin(f"call {number}").end()
    assert stuck.asked.wait(5)
    tracer.close()
    assert time.monotonic() - begun < 5
    stuck.freed.set()
