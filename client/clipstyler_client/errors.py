"""What can go wrong in a call, with everything the server said about it."""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

_DETAILS = "grpc-status-details-bin"


class FieldViolation(NamedTuple):
    """A field of the request that cannot be used, by its path in the contract, and why."""

    field: str
    description: str


class StylizeError(Exception):
    """A call failed.

    Attributes
    ----------
    code
        Name of the gRPC status, for instance "INVALID_ARGUMENT".
    reason
        Stable reason in UPPER_SNAKE_CASE, "" when the server gave none.
    message
        For people.
    violations
        Fields that cannot be used.
    retry_delay_s
        Seconds after which another try makes sense, when the server named them.
    """

    def __init__(
        self,
        code: str,
        message: str,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_delay_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = violations
        self.retry_delay_s = retry_delay_s


class InvalidRequestError(StylizeError):
    """The request cannot be carried out as it is; `violations` names the fields."""


class ServerBusyError(StylizeError):
    """The queue is full, or a message was too large."""


class ServerUnavailableError(StylizeError):
    """The server cannot be reached, is starting or is shutting down."""


class DeadlineExceededError(StylizeError):
    """The call's time was over before the result."""


class StylizationCancelledError(StylizeError):
    """The stylization was cancelled."""


class BrokenResultError(StylizeError):
    """The bytes that arrived are not those that the server announced."""


_KINDS: dict[str, type[StylizeError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "RESOURCE_EXHAUSTED": ServerBusyError,
    "UNAVAILABLE": ServerUnavailableError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "CANCELLED": StylizationCancelledError,
}


def from_status(status: status_pb2.Status) -> StylizeError:
    """Build the error that a `google.rpc.Status` describes."""
    code = code_pb2.Code.Name(status.code)
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, request, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    violations = tuple(FieldViolation(v.field, v.description) for v in request.field_violations)
    delay = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return _KINDS.get(code, StylizeError)(code, status.message, info.reason, violations, delay)


def from_rpc_error(error: grpc.RpcError) -> StylizeError:
    """Build the error of a failed call, with its details when the server sent any."""
    status = status_pb2.Status()
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == _DETAILS:
            try:
                status.ParseFromString(value)
            except DecodeError:
                break
            return from_status(status)
    code = error.code().name
    return _KINDS.get(code, StylizeError)(code, error.details() or code)
