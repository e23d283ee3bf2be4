"""What can go wrong in a call, with everything the server reports.

StylizeError
 +-- InvalidRequestError
 +-- AccessError
 +-- ServerBusyError
 +-- ServerUnavailableError
 +-- DeadlineExceededError
 +-- StylizationCancelledError
 +-- BrokenResultError
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from clipstyler.v1 import error_pb2
from clipstyler.v1.names import word_of

_DETAILS = "grpc-status-details-bin"


class FieldViolation(NamedTuple):
    """A field of the request that cannot be used, by its path in the contract, and why."""

    field: str
    description: str


class StylizeError(Exception):
    """A call or a job failed.

    Attributes
    ----------
    code
        Name of the canonical code, for instance "INVALID_ARGUMENT".
    reason
        Stable reason in UPPER_SNAKE_CASE; "" if the server gave none.
    message
        For people.
    violations
        Fields that cannot be used.
    retry_delay_s
        Seconds after which a retry makes sense, if the server recommends one.
    metadata
        Every variable part of the message, by name.
    """

    def __init__(
        self,
        code: str,
        message: str,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_delay_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = violations
        self.retry_delay_s = retry_delay_s
        self.metadata = dict(metadata or {})


class InvalidRequestError(StylizeError):
    """The request cannot be carried out as it is; `violations` names the fields."""


class AccessError(StylizeError):
    """The server does not know the caller, or does not permit it the call; `reason` says which."""


class ServerBusyError(StylizeError):
    """The queue is full, too many calls were made, or a message was too large."""


class ServerUnavailableError(StylizeError):
    """The server cannot be reached, is starting or is shutting down."""


class DeadlineExceededError(StylizeError):
    """The call's time ended before the result."""


class StylizationCancelledError(StylizeError):
    """The stylization was cancelled."""


class BrokenResultError(StylizeError):
    """The bytes that arrived are not those that the server announced."""


_KINDS: dict[str, type[StylizeError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "UNAUTHENTICATED": AccessError,
    "PERMISSION_DENIED": AccessError,
    "RESOURCE_EXHAUSTED": ServerBusyError,
    "UNAVAILABLE": ServerUnavailableError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "CANCELLED": StylizationCancelledError,
}


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise errors of this package for those of gRPC."""
    try:
        with cancellation_named():
            yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


@contextmanager
def cancellation_named() -> Iterator[None]:
    """Raise `StylizationCancelledError` if a call was cancelled, and not the task that waits for it.

    gRPC for asyncio raises `asyncio.CancelledError` in both cases.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise StylizationCancelledError("CANCELLED", "the call was cancelled") from None


def from_message(error: error_pb2.Error) -> StylizeError:
    """Build the error that a job or a failed event carries."""
    code = word_of(error_pb2.Error.Code.DESCRIPTOR, error.code).upper()
    violations = tuple(FieldViolation(v.field, v.description) for v in error.field_violations)
    delay = error.retry_delay.ToTimedelta().total_seconds() if error.HasField("retry_delay") else None
    return _KINDS.get(code, StylizeError)(code, error.message, error.reason, violations, delay, error.metadata)


def from_rpc_error(error: grpc.RpcError) -> StylizeError:
    """Build the error of a failed call, with its details if the server sent any."""
    metadata: Any = error.trailing_metadata() or ()
    return from_status(error.code(), error.details(), metadata)


def from_status(code: grpc.StatusCode, message: str | None, metadata: Iterable[Any]) -> StylizeError:
    """Build the error of a call that ended with a status, with its details if they are among the trailing metadata."""
    status = status_pb2.Status()
    for key, value in metadata:
        if key == _DETAILS:
            try:
                status.ParseFromString(value)
            except DecodeError:
                break
            return _from_details(status, code.name)
    return _KINDS.get(code.name, StylizeError)(code.name, message or code.name)


def _from_details(status: status_pb2.Status, code: str) -> StylizeError:
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, request, retry):
            if detail.Is(message.DESCRIPTOR):
                with suppress(DecodeError):  # the others still tell something
                    detail.Unpack(message)
    violations = tuple(FieldViolation(v.field, v.description) for v in request.field_violations)
    delay = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return _KINDS.get(code, StylizeError)(code, status.message, info.reason, violations, delay, info.metadata)
