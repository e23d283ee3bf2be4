"""Around every call: the one place where exceptions become statuses, metrics and the access log."""

from __future__ import annotations

import inspect
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_status import rpc_status

from clipstyler_server.api.errors import CODES, status
from clipstyler_server.errors import ServiceError, internal
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import UNKNOWN_METHOD, Metrics

if TYPE_CHECKING:
    # The stubs know parameters of these classes that the classes themselves do not have.
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RpcGuard(grpc.aio.ServerInterceptor):
    """Wraps every handler of the server, health and reflection included.

    Parameters
    ----------
    metrics
        Counts calls.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Find the handler and wrap it; unknown methods are counted under one name."""
        handler = await continuation(handler_call_details)
        if handler is None:
            self._metrics.rpc_ended(UNKNOWN_METHOD, grpc.StatusCode.UNIMPLEMENTED.name, 0.0)
            return None
        return _wrapped(handler, handler_call_details.method, self._around)

    @asynccontextmanager
    async def _around(self, method: str, context: Context) -> AsyncIterator[None]:
        call = _Call(method, context)
        # Counted when the call ends, however it ends: the generator of a broken call is closed only some time later.
        context.add_done_callback(partial(self._ended, call))  # type: ignore[arg-type]
        structlog.contextvars.bind_contextvars(request_id=call.request_id)
        try:
            yield
            call.code = _code_set(context) or grpc.StatusCode.OK
        except ServiceError as error:
            call.code = CODES[error.reason]
            await context.abort_with_status(rpc_status.to_status(status(error.details)))
        except grpc.aio.AbortError:
            call.code = _code_set(context) or grpc.StatusCode.UNKNOWN
            raise
        except Exception:  # noqa: BLE001 - the caller receives an id, the log the exception
            call.code = grpc.StatusCode.INTERNAL
            logs.get_logger().exception("rpc_failed", method=method, error_id=call.request_id)
            await context.abort_with_status(rpc_status.to_status(status(internal(call.request_id).details)))

    def _ended(self, call: _Call, _: object) -> None:
        code = call.final_code().name
        seconds = time.monotonic() - call.begun
        self._metrics.rpc_ended(call.method, code, seconds)
        # Probes of health come every few seconds.
        log = logs.get_logger().debug if call.method.startswith("/grpc.") else logs.get_logger().info
        log(
            "rpc",
            method=call.method,
            code=code,
            seconds=round(seconds, 4),
            peer=call.peer,
            request_id=call.request_id,
        )


class _Call:
    """Facts about one call; `code` stays None until the handler has ended by itself."""

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self.begun = time.monotonic()
        self.request_id = _request_id(context)
        self.peer = context.peer()
        self.code: grpc.StatusCode | None = None
        remaining_s: float | None = context.time_remaining()
        self._deadline = None if remaining_s is None else self.begun + remaining_s

    def final_code(self) -> grpc.StatusCode:
        """Return the code that the call ended with; one that did not end by itself was interrupted."""
        if self.code is not None:
            return self.code
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED


def _wrapped(handler: Any, method: str, around: Callable[..., Any]) -> Handler:
    kind = ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )
    behavior = getattr(handler, kind)

    async def answer(request: Any, context: Any) -> Any:
        async with around(method, context):
            return await behavior(request, context)

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        async with around(method, context):
            async for response in behavior(request, context):
                yield response

    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(  # type: ignore[no-any-return]
        stream if inspect.isasyncgenfunction(behavior) else answer,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _request_id(context: Context) -> str:
    """Take the caller's `x-request-id` if it is well-formed, or draw one."""
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return str(uuid.uuid4())


def _code_set(context: Context) -> grpc.StatusCode | None:
    """Return the code that a handler set or aborted with; gRPC keeps it as a number."""
    number: Any = context.code()
    return next((code for code in grpc.StatusCode if number in (code, code.value[0])), None)
