"""Every error of the service: its reason, its gRPC code, and the `google.rpc` details that go with it.

Codes follow AIP-193 and AIP-194: only UNAVAILABLE invites a retry as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

DOMAIN = "clipstyler.dev"
# A status travels in trailers, of which clients take 8 KiB; percent-encoded, a text of users is three times as long.
_MESSAGE_BYTES = 700
_VIOLATION_BYTES = 400


class Reason(StrEnum):
    """Stable names of what can go wrong; `ErrorInfo.reason`."""

    INVALID_FIELD = "INVALID_FIELD"
    QUEUE_FULL = "QUEUE_FULL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    WORKER_NOT_READY = "WORKER_NOT_READY"
    WORKER_CRASHED = "WORKER_CRASHED"
    DRAINING = "DRAINING"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    DIVERGED = "DIVERGED"
    NOT_FOUND = "NOT_FOUND"
    NOT_OVER = "NOT_OVER"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    DEADLINE_UNREACHABLE = "DEADLINE_UNREACHABLE"
    STORAGE_FULL = "STORAGE_FULL"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    SERVER_RESTARTED = "SERVER_RESTARTED"
    INTERNAL = "INTERNAL"


CODES = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.OUT_OF_MEMORY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.WORKER_NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Reason.WORKER_CRASHED: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.DIVERGED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.NOT_OVER: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.ALREADY_EXISTS,
    Reason.DEADLINE_UNREACHABLE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.STORAGE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STORAGE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.SERVER_RESTARTED: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


# Where the algorithm's names of fields are in the request; any other name is the path itself.
_FIELD_PATHS = {
    "size": "options.size",
    "steps": "options.steps",
    "patches": "options.patches",
    "seed": "options.seed",
    "encoders": "options.encoders",
    "crop_size": "options.crop_size",
    "crop_fraction": "options.crop_size",
    "learning_rate": "options.learning_rate",
    "threshold": "options.threshold",
    "weights": "options.weights",
    "weight_direction": "options.weights.direction",
    "weight_patch": "options.weights.patch",
    "weight_content": "options.weights.content",
    "weight_tv": "options.weights.total_variation",
    "contrast": "options.contrast",
    "crop_overhang": "options.crop_overhang",
    "text_share": "options.text_share",
    "input_noise": "options.input_noise",
    "warm_up": "options.warm_up",
}


@dataclass(frozen=True)
class Violation:
    """A field of the request, as a path in the proto, and what is wrong with it."""

    field: str
    problem: str


class ServiceError(Exception):
    """An error that the caller is told about.

    Parameters
    ----------
    reason
        What kind of error; decides the code.
    message
        What was wrong, what was expected, what to do.
    violations
        Fields of the request that are to blame.
    retry_delay_s
        After which another try makes sense; None says nothing.
    metadata
        More for machines; never texts of users.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        retry_delay_s: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations
        self.retry_delay_s = retry_delay_s
        self.metadata = metadata or {}

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC code of the reason."""
        return CODES[self.reason]


def invalid(*violations: Violation) -> ServiceError:
    """Make the error of a request with bad fields."""
    message = "; ".join(f"{violation.field}: {violation.problem}" for violation in violations)
    return ServiceError(Reason.INVALID_FIELD, message, violations=violations)


def blame(field: str, problem: str) -> Violation:
    """Blame a field that the algorithm names, by its path in the request."""
    return Violation(_FIELD_PATHS.get(field, field), problem)


def internal(error_id: str) -> ServiceError:
    """Make the error that hides an unexpected exception; the log has the whole of it under the same id."""
    return ServiceError(
        Reason.INTERNAL,
        f"an unexpected error, recorded in the server's log under {error_id}: report it with that id",
        metadata={"error_id": error_id},
    )


def to_status(error: ServiceError) -> status_pb2.Status:
    """Turn an error into a status with details. The same error always gives the same status."""
    number: int = error.code.value[0]
    status = status_pb2.Status(code=number, message=_clipped(error.message, _MESSAGE_BYTES))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.append(_packed(info))
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=_clipped(violation.problem, _VIOLATION_BYTES))
        status.details.append(_packed(bad))
    if error.retry_delay_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(1000 * error.retry_delay_s))
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status


def _clipped(text: str, most_bytes: int) -> str:
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    return encoded[: most_bytes - 3].decode(errors="ignore") + "..."


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
