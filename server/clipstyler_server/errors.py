"""Errors of the service: stable reasons, and what a caller needs to act on them. The API maps them to statuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clipstyler.options import Violation

__all__ = ["ErrorDetails", "Reason", "ServiceError", "Violation", "error", "internal", "invalid"]


class Reason(StrEnum):
    """Stable names of what can go wrong; `ErrorInfo.reason` in the contract."""

    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    CREDENTIALS_INVALID = "CREDENTIALS_INVALID"
    CREDENTIALS_EXPIRED = "CREDENTIALS_EXPIRED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RATE_LIMITED = "RATE_LIMITED"
    INVALID_FIELD = "INVALID_FIELD"
    UNDECODABLE_REQUEST = "UNDECODABLE_REQUEST"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    SLOW_READER = "SLOW_READER"
    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    UNKNOWN_SERVICE = "UNKNOWN_SERVICE"
    QUEUE_FULL = "QUEUE_FULL"
    EVALUATIONS_FULL = "EVALUATIONS_FULL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    WORKER_NOT_READY = "WORKER_NOT_READY"
    WORKER_CRASHED = "WORKER_CRASHED"
    DRAINING = "DRAINING"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    DEADLINE_UNREACHABLE = "DEADLINE_UNREACHABLE"
    CANCELLED = "CANCELLED"
    DIVERGED = "DIVERGED"
    STYLIZATION_NOT_FOUND = "STYLIZATION_NOT_FOUND"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    STYLIZATION_NOT_FINISHED = "STYLIZATION_NOT_FINISHED"
    STYLE_NOT_FOUND = "STYLE_NOT_FOUND"
    STYLE_NOT_KEPT = "STYLE_NOT_KEPT"
    STYLE_BUNDLED = "STYLE_BUNDLED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    STORAGE_FULL = "STORAGE_FULL"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    STORAGE_DAMAGED = "STORAGE_DAMAGED"
    SERVER_RESTARTED = "SERVER_RESTARTED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True)
class ErrorDetails:
    """An error as data: stored with a failed job, and sent to callers.

    Attributes
    ----------
    reason
        Determines the status code.
    message
        What was wrong, what was expected, what to do.
    violations
        Fields of the request that cannot be used, by their path in the contract.
    retry_delay_s
        Delay after which a retry makes sense; None if there is none to recommend.
    metadata
        Every variable part of the message, by name; never texts of users.
    """

    reason: Reason
    message: str
    violations: tuple[Violation, ...] = ()
    retry_delay_s: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)


class ServiceError(Exception):
    """An error that is reported to the caller.

    Parameters
    ----------
    details
        What is reported.
    """

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(details.message)
        self.details = details

    @property
    def reason(self) -> Reason:
        """The stable reason."""
        return self.details.reason


def error(reason: Reason, message: str, *, retry_delay_s: float | None = None, **variables: object) -> ServiceError:
    """Make an error from a message template such as "{count} jobs wait", whose variables become its metadata."""
    metadata = {name: _plain(value) for name, value in variables.items()}
    return ServiceError(
        ErrorDetails(reason, message.format_map(metadata), retry_delay_s=retry_delay_s, metadata=metadata)
    )


def invalid(*violations: Violation) -> ServiceError:
    """Make the error of a request with bad fields."""
    message = "; ".join(f"{violation.field}: {violation.problem}" for violation in violations)
    fields = ",".join(violation.field for violation in violations)
    return ServiceError(ErrorDetails(Reason.INVALID_FIELD, message, violations, metadata={"fields": fields}))


def internal(error_id: str) -> ServiceError:
    """Make the error that hides an unexpected exception; the log has it under the same id."""
    return error(
        Reason.INTERNAL,
        "an unexpected error, recorded in the server's log under {error_id}: report it with that id",
        error_id=error_id,
    )


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
