"""Traces: what a span is, and one that records nothing. OpenTelemetry's are in `otel`, imported if traces are on.

All spans are made in the front process, also those of work in other processes, which report when it begins and ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

TRACEPARENT = "traceparent"
"""Header of W3C Trace Context."""
Attribute = str | int | float | bool
_WELL_FORMED = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_SAMPLED = 1
_INSTALL = 'traces need more packages: pip install "clipstyler[otel]", or set traces to off'


class TracesUnavailableError(Exception):
    """Traces are switched on and cannot be made; the message says why and what to do."""


class Span(Protocol):
    """A piece of work in a trace."""

    @property
    def trace_id(self) -> str:
        """Id of the trace in hexadecimal; empty if there is none."""
        ...

    @property
    def is_sampled(self) -> bool:
        """Whether somebody keeps the trace."""
        ...

    def child(self, name: str, **attributes: Attribute) -> Span:
        """Begin a piece of this work."""
        ...

    def event(self, name: str, **attributes: Attribute) -> None:
        """Record that something happened."""
        ...

    def set(self, **attributes: Attribute) -> None:
        """Describe the work."""
        ...

    def end(self, problem: str = "") -> None:
        """End it, with a problem if it failed."""
        ...


class Tracer(Protocol):
    """Makes traces."""

    def begin(self, name: str, traceparent: str = "", **attributes: Attribute) -> Span:
        """Begin the work of a call, in its caller's trace if there is one."""
        ...

    def close(self) -> None:
        """Export what has ended, for some seconds at most."""
        ...


class NoSpan:
    """Records nothing.

    Parameters
    ----------
    traceparent
        Of a caller that makes traces: log lines have its trace's id all the same.
    """

    def __init__(self, traceparent: str = "") -> None:
        found = _WELL_FORMED.fullmatch(traceparent)
        self.trace_id = found["trace"] if found else ""
        self.is_sampled = bool(found and int(found["flags"], 16) & _SAMPLED)

    def child(self, name: str, **attributes: Attribute) -> Span:  # noqa: ARG002 - the protocol's
        """Return itself."""
        return self

    def event(self, name: str, **attributes: Attribute) -> None:
        """Record nothing."""

    def set(self, **attributes: Attribute) -> None:
        """Describe nothing."""

    def end(self, problem: str = "") -> None:
        """End nothing."""


class NoTracer:
    """Makes no traces."""

    def begin(self, name: str, traceparent: str = "", **attributes: Attribute) -> Span:  # noqa: ARG002
        """Return a span that records nothing."""
        return NoSpan(traceparent)

    def close(self) -> None:
        """Export nothing."""


def tracer_for(traces: str) -> Tracer:
    """Return the tracer that a setting asks for, "off" or "otlp"; raises `TracesUnavailableError`."""
    if traces == "off":
        return NoTracer()
    try:
        from clipstyler_server.observability.otel import OtelTracer, exporting
    except ModuleNotFoundError as error:
        raise TracesUnavailableError(_INSTALL) from error
    try:
        return OtelTracer(exporting())
    except ValueError as error:
        raise TracesUnavailableError(f"OpenTelemetry cannot use its variables (OTEL_...): {error}") from error


class JobTrace:
    """The spans of a job: one of the whole, and in it one phase after the other.

    Parameters
    ----------
    parent
        Of the call that created it.
    attributes
        Of the whole.
    """

    def __init__(self, parent: Span, **attributes: Attribute) -> None:
        self.whole = parent.child("stylization", **attributes)
        self._phase: Span = NoSpan()
        self._name = ""

    @property
    def exemplar(self) -> str:
        """Id of the trace, for metrics; empty if it is not kept."""
        return self.whole.trace_id if self.whole.is_sampled else ""

    def enter(self, name: str) -> None:
        """End the present phase and begin the next one, unless it is the same."""
        if name != self._name:
            self._phase.end()
            self._phase, self._name = self.whole.child(name), name

    def event(self, name: str, **attributes: Attribute) -> None:
        """Record that something happened in the present phase."""
        self._phase.event(name, **attributes)

    def end(self, outcome: str, problem: str = "") -> None:
        """End the job's trace."""
        self._phase.end()
        self.whole.set(outcome=outcome)
        self.whole.end(problem)


_current: ContextVar[Span] = ContextVar("span", default=NoSpan())  # noqa: B039 - it never changes


def current_span() -> Span:
    """Return what is traced now."""
    return _current.get()


def enter_span(span: Span) -> None:
    """Make a span the one that is traced now, in this task and in those that it begins."""
    _current.set(span)


@contextmanager
def traced(name: str, **attributes: Attribute) -> Iterator[Span]:
    """Trace a piece of what is traced now. Not for use in asynchronous generators."""
    span = current_span().child(name, **attributes)
    token = _current.set(span)
    try:
        yield span
    except BaseException as error:
        span.end(type(error).__name__)
        raise
    else:
        span.end()
    finally:
        _current.reset(token)
