"""The errors that jobs end with."""

from __future__ import annotations

from clipstyler_server.engine.base import Broke, FailureKind
from clipstyler_server.errors import Reason, ServiceError, Violation, blame, internal, invalid

RESTART_WAIT_S = 5.0


def draining_error() -> ServiceError:
    """Make the error of a server that is shutting down."""
    return ServiceError(
        Reason.DRAINING, "the server is shutting down: try again, on another one if there is one", retry_delay_s=1.0
    )


def deadline_error() -> ServiceError:
    """Make the error of a job whose time is over."""
    return ServiceError(
        Reason.DEADLINE_EXCEEDED, "the deadline passed before the work was done: allow more time, or ask for less work"
    )


def unreachable_error(expected_s: float, remaining_s: float) -> ServiceError:
    """Make the error of a job that would not be over in time."""
    return ServiceError(
        Reason.DEADLINE_UNREACHABLE,
        f"it would take about {expected_s:.0f} s with the wait, and {remaining_s:.0f} s are allowed: "
        "allow more time, ask for less work, or try later",
    )


def crash_error(problem: str) -> ServiceError:
    """Make the error of a job whose worker was lost."""
    return ServiceError(
        Reason.WORKER_CRASHED,
        f"the worker {problem} and is started again: try again in a moment",
        retry_delay_s=RESTART_WAIT_S,
    )


def restart_error() -> ServiceError:
    """Make the error of a job that ran when the server died."""
    return ServiceError(
        Reason.SERVER_RESTARTED, "the server ended while the job ran: create it again", retry_delay_s=1.0
    )


def failure(event: Broke, job_id: str) -> ServiceError:
    """Turn what the worker says of a broken job into an error."""
    match event.kind:
        case FailureKind.INVALID:
            return invalid(blame(event.field, event.problem))
        case FailureKind.DIVERGED:
            return ServiceError(Reason.DIVERGED, event.problem, violations=(Violation("options", event.problem),))
        case FailureKind.OUT_OF_MEMORY:
            return ServiceError(Reason.OUT_OF_MEMORY, f"{event.problem}: ask for a smaller size or fewer patches")
        case FailureKind.INTERNAL:
            return internal(job_id)
