"""Around every call: identity, bounds, and the one place where exceptions become statuses, metrics and log lines."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import Message
from grpc_status import rpc_status

from clipstyler_server.api.authentication import Gatekeeper
from clipstyler_server.api.bounds import CallBounds
from clipstyler_server.api.callers import enter_call
from clipstyler_server.api.errors import CODES, status
from clipstyler_server.api.open_calls import OpenCalls
from clipstyler_server.api.receiving import Requests
from clipstyler_server.api.sending import Deferred
from clipstyler_server.errors import Reason, ServiceError, error, internal
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import OTHER_METHOD, Metrics
from clipstyler_server.observability.traces import TRACEPARENT, NoSpan, Span, Tracer, enter_span
from clipstyler_server.sharing import Caller

if TYPE_CHECKING:
    # The stubs know parameters of these classes that the classes themselves do not have.
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

REQUEST_ID = "x-request-id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RETRY_S = 2.0
_TRACED = "/clipstyler."
# By OpenTelemetry's conventions for gRPC servers; the other codes are the caller's doing.
_SERVER_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
# Says how the server is until it ends: no stop waits for it.
_ENDLESS = "/grpc.health.v1.Health/Watch"
# Smaller responses are not worth a turn: together they stay below what a connection buffers.
_LARGE_RESPONSE_BYTES = 64 * 1024


class RpcGuard(grpc.aio.ServerInterceptor):
    """Wraps every handler of the server, health and reflection included.

    Parameters
    ----------
    metrics
        Counts calls.
    bounds
        Of all calls together.
    gatekeeper
        Knows who calls.
    photo_methods
        Full names of the methods whose requests carry images.
    tracer
        Traces calls of the contract's services.

    Attributes
    ----------
    open_calls
        That are being answered.
    """

    def __init__(
        self,
        metrics: Metrics,
        bounds: CallBounds,
        gatekeeper: Gatekeeper,
        photo_methods: frozenset[str],
        tracer: Tracer,
    ) -> None:
        self.open_calls = OpenCalls()
        self._metrics = metrics
        self._tracer = tracer
        self._bounds = bounds
        self._gatekeeper = gatekeeper
        self._photo_methods = photo_methods

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Find the handler and wrap it; unknown methods share one that refuses, and are counted under one name."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return self._wrapped(_UNKNOWN, OTHER_METHOD)
        return self._wrapped(handler, handler_call_details.method)

    def _wrapped(self, handler: Any, method: str) -> Handler:
        """Wrap a handler. All requests arrive as streams of bytes: so they can be bounded, timed and refused here."""
        kind = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        behavior = getattr(handler, kind)

        async def answer(_: object, context: Any) -> Any:
            async with self._around(method, handler, context) as call:
                response = await behavior(await call.request(), context)
                await call.show_id()
                call.sent_bytes += response.ByteSize()
                return response

        async def stream(_: object, context: Any) -> None:
            async with (
                self._around(method, handler, context) as call,
                aclosing(behavior(await call.request(), context)) as responses,
            ):
                async for response in responses:
                    await call.send(response)

        make: Any = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(  # type: ignore[no-any-return]
            stream if inspect.isasyncgenfunction(behavior) else answer,
            response_serializer=handler.response_serializer,
        )

    @asynccontextmanager
    async def _around(self, method: str, handler: Any, context: Context) -> AsyncIterator[_Call]:
        call = _Call(method, context, self._bounds, self._gatekeeper, self._span(method, context))
        # Counted when the call ends, however it ends: the generator of a broken call is closed only some time later.
        context.add_done_callback(partial(self._ended, call))  # type: ignore[arg-type]
        self._metrics.call_started(method)
        structlog.contextvars.bind_contextvars(**call.log_context)
        enter_span(call.span)
        try:
            with self.open_calls.entered(call.is_at_work):
                call.enter(handler, method in self._photo_methods)
                yield call
            call.code = _code_set(context) or grpc.StatusCode.OK
        except ServiceError as problem:
            _drop_locals(problem)
            await call.abort(CODES[problem.reason], problem)
        except grpc.aio.AbortError:
            call.code = _code_set(context) or grpc.StatusCode.UNKNOWN
            raise
        except (grpc.aio.InternalError, grpc.aio.UsageError):
            # The connection broke between two steps of the call: nobody is there to be answered.
            raise asyncio.CancelledError from None
        except Exception:  # noqa: BLE001 - the caller receives an id, the log the exception
            logs.get_logger().exception("rpc_failed", method=method, error_id=call.request_id)
            await call.abort(grpc.StatusCode.INTERNAL, internal(call.request_id))
        finally:
            call.release()

    def _span(self, method: str, context: Context) -> Span:
        """Begin the span of a call. Health and reflection, which tools call all the time, have none."""
        traceparent = _header(context, TRACEPARENT)
        if not method.startswith(_TRACED):
            return NoSpan(traceparent)
        service, _, name = method[1:].partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        return self._tracer.begin(method[1:], traceparent, **attributes)

    def _ended(self, call: _Call, _: object) -> None:
        call.forget_abort()
        if call.caller:
            self._bounds.calls.leave(call.method, call.caller.account)
        status = call.final_code()
        code, seconds = status.name, time.monotonic() - call.begun
        call.span.set(**{"rpc.grpc.status_code": status.value[0]})
        call.span.end(code if status in _SERVER_FAULTS else "")
        exemplar = call.span.trace_id if call.span.is_sampled else ""
        self._metrics.call_ended(call.method, code, seconds, call.received_bytes, call.sent_bytes, exemplar)
        self._metrics.tenants.call_ended(call.caller.tenant if call.caller else "", code)
        # Probes of health come every few seconds.
        log = logs.get_logger().debug if call.method.startswith("/grpc.") else logs.get_logger().info
        log(
            "rpc",
            method=call.method,
            code=code,
            seconds=round(seconds, 4),
            peer=call.peer,
            **call.log_context,
            **_identity(call.caller),
        )


class _Call:
    """Facts about one call.

    `code` stays None until the handler has ended by itself, `caller` and `requests` until the call is let in.
    """

    def __init__(self, method: str, context: Context, bounds: CallBounds, gatekeeper: Gatekeeper, span: Span) -> None:
        self.method = method
        self.span = span
        self.begun = time.monotonic()
        self.request_id = _request_id(context)
        self.peer = context.peer()
        self.code: grpc.StatusCode | None = None
        self.caller: Caller | None = None
        self.sent_bytes = 0
        self._requests: Requests | None = None
        self._context = context
        self._bounds = bounds
        self._gatekeeper = gatekeeper
        self._is_stream = self._is_dialog = False
        self._id_shown = False
        self._aborted: grpc.aio.AbortError | None = None
        remaining_s: float | None = context.time_remaining()
        self._deadline = None if remaining_s is None else self.begun + remaining_s
        context.set_trailing_metadata(((REQUEST_ID, self.request_id),))

    @property
    def log_context(self) -> dict[str, str]:
        """What log lines about the call have."""
        trace = {"trace_id": self.span.trace_id} if self.span.trace_id else {}
        return {"request_id": self.request_id} | trace

    def enter(self, handler: Any, has_photos: bool) -> None:
        """Let the call in, before anything of its requests is received; raises `ServiceError`."""
        caller = self._gatekeeper.admit(self.method, self._context)
        if not self._bounds.calls.enter(self.method, caller.account, caller.limits.max_calls):
            raise _too_many_calls(self._bounds, caller)
        enter_call(caller)
        self.caller = caller
        self._is_stream = handler.request_streaming
        self._is_dialog = handler.request_streaming and handler.response_streaming
        self._requests = Requests(
            self._context, handler.request_deserializer, self._bounds, caller.account, self.peer, has_photos
        )

    async def request(self) -> Message | AsyncIterator[Message]:
        """Return what the handler takes: the request, or an iterator of requests."""
        assert self._requests is not None
        return self._requests.all() if self._is_stream else await self._requests.only()

    def is_at_work(self) -> bool:
        """Whether the caller waits for something; one that sends nothing, to be answered as it sends, does not."""
        is_waiting = self._is_dialog and self._requests is not None and self._requests.is_waiting
        return not (is_waiting or self.method == _ENDLESS)

    @property
    def received_bytes(self) -> int:
        """Bytes of the requests that have been received."""
        return self._requests.received_bytes if self._requests else 0

    def release(self) -> None:
        """Give back what the latest request holds."""
        if self._requests:
            self._requests.release()

    async def show_id(self) -> None:
        """Send the request id in the headers, as late as possible: a call is retried only until they arrive."""
        if not self._id_shown:
            self._id_shown = True
            await self._context.send_initial_metadata(((REQUEST_ID, self.request_id),))

    async def send(self, response: Message | Deferred) -> None:
        """Send one response of a stream, once its bytes fit, to a reader that takes it in time.

        The call of a slow reader ends with SLOW_READER, which is behind the unread response: both stay, and count,
        until the caller reads again or leaves.
        """
        assert self.caller is not None
        self._gatekeeper.check_still_valid(self.caller)
        await self.show_id()
        if not self._is_stream:
            self.release()  # a call that answers has admitted its request
        size = response.size if isinstance(response, Deferred) else response.ByteSize()
        if size < _LARGE_RESPONSE_BYTES:
            await self._write(await _made(response))
            return
        async with self._bounds.outgoing.hold(self.caller.account, size, line=self.peer):
            await self._write(await _made(response))

    async def _write(self, response: Message) -> None:
        limit_s = self._bounds.write_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._context.write(response)
                self.sent_bytes += response.ByteSize()
        except TimeoutError:
            slow = error(Reason.SLOW_READER, "the caller did not read for {limit_s} s: call again", limit_s=limit_s)
            await self.abort(CODES[slow.reason], slow)

    async def abort(self, code: grpc.StatusCode, problem: ServiceError) -> None:
        """End the call with an error and its request id, unless the caller has left."""
        if self._context.done():
            return
        self.code = code
        reported = rpc_status.to_status(status(problem.details))
        trailers = (*(reported.trailing_metadata or ()), (REQUEST_ID, self.request_id))
        try:
            await self._context.abort(reported.code, reported.details, trailers)
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None  # the connection broke meanwhile
        except grpc.aio.AbortError as aborted:
            self._aborted = aborted
            raise

    def forget_abort(self) -> None:
        """Break the ring of an ended call, which holds the exception that knows all frames that hold the call."""
        if self._aborted:
            self._aborted.__traceback__ = self._aborted.__context__ = None

    def final_code(self) -> grpc.StatusCode:
        """Return the code that the call ended with; one that did not end by itself was interrupted."""
        if self.code is not None:
            return self.code
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED


async def _made(response: Message | Deferred) -> Message:
    return await response.make() if isinstance(response, Deferred) else response


def _drop_locals(problem: BaseException | None) -> None:
    """Clear the variables of the frames that an error passed: they hold the photo of a request until the next `gc`."""
    while problem:
        traceback.clear_frames(problem.__traceback__)
        problem = problem.__context__


async def _refuse(_request: object, _context: object) -> Any:
    raise error(Reason.UNKNOWN_METHOD, "this server has no such method: ask its reflection for those that it has")


# Takes any number of requests and reads none.
_UNKNOWN: Any = grpc.stream_unary_rpc_method_handler(_refuse)


def _too_many_calls(bounds: CallBounds, caller: Caller) -> ServiceError:
    return error(
        Reason.TOO_MANY_CALLS,
        "too many calls are open, the limit is {in_all} in all and {per_caller} per caller: try again later",
        retry_delay_s=_RETRY_S,
        in_all=bounds.calls.total,
        per_caller=bounds.calls.most_of(caller.limits.max_calls),
    )


def _identity(caller: Caller | None) -> dict[str, str]:
    """Return what the log says of a caller: its tenant and the public part of its token."""
    if caller is None or not caller.tenant:
        return {}
    return {"tenant": caller.tenant, "token": caller.principal.token_id}


def _request_id(context: Context) -> str:
    """Take the caller's `x-request-id` if it is well-formed, or draw one."""
    given = _header(context, REQUEST_ID)
    return given if _WELL_FORMED.fullmatch(given) else str(uuid.uuid4())


def _header(context: Context, name: str) -> str:
    """Return the first value of a header; empty if there is none."""
    values = (value for key, value in context.invocation_metadata() or () if key == name)
    return next((value for value in values if isinstance(value, str)), "")


def _code_set(context: Context) -> grpc.StatusCode | None:
    """Return the code that a handler set or aborted with; gRPC keeps it as a number."""
    number: Any = context.code()
    return next((code for code in grpc.StatusCode if number in (code, code.value[0])), None)
