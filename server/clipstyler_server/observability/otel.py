"""Traces by OpenTelemetry, which its environment variables configure (`OTEL_...`)."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as AnySpan
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace import Tracer as AnyTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clipstyler import __version__
from clipstyler_server.observability.traces import TRACEPARENT, Attribute, Span

_NAME = "clipstyler"


class OtelSpan:
    """A span of OpenTelemetry; see `traces.Span`."""

    def __init__(self, tracer: AnyTracer, span: AnySpan) -> None:
        self._tracer = tracer
        self._span = span
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        self.is_sampled = context.trace_flags.sampled

    def child(self, name: str, **attributes: Attribute) -> Span:
        """Begin a piece of this work."""
        context = set_span_in_context(self._span)
        return OtelSpan(self._tracer, self._tracer.start_span(name, context, attributes=attributes))

    def event(self, name: str, **attributes: Attribute) -> None:
        """Record that something happened."""
        self._span.add_event(name, attributes)

    def set(self, **attributes: Attribute) -> None:
        """Describe the work."""
        self._span.set_attributes(attributes)

    def end(self, problem: str = "") -> None:
        """End it, with a problem if it failed."""
        if problem:
            self._span.set_status(StatusCode.ERROR, problem)
        self._span.end()


class OtelTracer:
    """Makes traces with OpenTelemetry; see `traces.Tracer`.

    Parameters
    ----------
    processor
        Receives the spans that have ended.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        ours = Resource.create({"service.name": _NAME, "service.version": __version__})
        # What the environment says goes first.
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(_NAME, __version__)

    def begin(self, name: str, traceparent: str = "", **attributes: Attribute) -> Span:
        """Begin the work of a call, in its caller's trace if there is one."""
        caller = TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent})
        return OtelSpan(self._tracer, self._tracer.start_span(name, caller, SpanKind.SERVER, attributes))

    def close(self) -> None:
        """Export what has ended, and nothing more."""
        self._provider.shutdown()


def exporting() -> SpanProcessor:
    """Make what exports spans in batches, by OTLP over HTTP."""
    return BatchSpanProcessor(OTLPSpanExporter())
