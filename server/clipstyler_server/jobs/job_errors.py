"""The errors that jobs end with or are refused with."""

from __future__ import annotations

from collections.abc import Iterable

from clipstyler.spec import OPTIONS
from clipstyler_server.errors import ErrorDetails, Reason, ServiceError, Violation, error, internal, invalid
from clipstyler_server.storage.storage import full_error, unavailable_error
from clipstyler_server.workers.engine import FailureKind, TaskFailed

RESTART_WAIT_S = 5.0


def invalid_spec(*violations: Violation) -> ServiceError:
    """Make the error of a spec with bad fields, named by their path in the contract."""
    return invalid(*spec_violations(violations))


def spec_violations(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Name bad fields of a spec by their path in the contract."""
    return tuple(Violation(_path(violation.field), violation.problem) for violation in violations)


def _path(field: str) -> str:
    return f"spec.options.{field}" if field in OPTIONS else f"spec.{field}"


def draining_error() -> ServiceError:
    """Make the error of a server that is shutting down."""
    return error(
        Reason.DRAINING, "the server is shutting down: retry, on another server if there is one", retry_delay_s=1.0
    )


def cancelled_error() -> ServiceError:
    """Make the error of a cancelled job."""
    return error(Reason.CANCELLED, "the stylization was cancelled")


def deadline_error() -> ServiceError:
    """Make the error of a job that did not finish in time."""
    return error(
        Reason.DEADLINE_EXCEEDED,
        "the deadline passed before the work was finished: allow more time, or request less work",
    )


def unreachable_error(expected_s: float, remaining_s: float) -> ServiceError:
    """Make the error of a job that would not finish in time."""
    return error(
        Reason.DEADLINE_UNREACHABLE,
        "it would take about {expected_s} s including the wait, and {remaining_s} s are allowed: "
        "allow more time, request less work, or try later",
        expected_s=round(expected_s),
        remaining_s=round(remaining_s),
    )


def not_ready_error(state: str) -> ServiceError:
    """Make the error of a server whose optimizer takes no work just now."""
    return error(
        Reason.WORKER_NOT_READY, "the worker {state}: retry in a moment", retry_delay_s=RESTART_WAIT_S, state=state
    )


def queue_full_error(places: int, of_caller: bool, retry_delay_s: float) -> ServiceError:
    """Make the error of a full queue, or of a caller that has all the places that one caller may have."""
    whose = "of one caller " if of_caller else ""
    return error(
        Reason.QUEUE_FULL,
        f"{{capacity}} jobs {whose}are waiting, which is the limit: try again later",
        retry_delay_s=retry_delay_s,
        capacity=places,
    )


def crash_error(problem: str) -> ServiceError:
    """Make the error of a job whose worker was lost."""
    return error(
        Reason.WORKER_CRASHED,
        "the worker {problem} and is being restarted: retry in a moment",
        retry_delay_s=RESTART_WAIT_S,
        problem=problem,
    )


def restart_error() -> ServiceError:
    """Make the error of a job that was running when the server died."""
    return error(
        Reason.SERVER_RESTARTED, "the server exited while the job was running: create it again", retry_delay_s=1.0
    )


def failure(failed: TaskFailed, job_id: str) -> ServiceError:
    """Turn the failure of a task into an error."""
    match failed.kind:
        case FailureKind.INVALID:
            return invalid_spec(*failed.violations)
        case FailureKind.DIVERGED:
            violation = Violation("spec.options", failed.problem)
            return ServiceError(
                ErrorDetails(Reason.DIVERGED, failed.problem, (violation,), metadata={"problem": failed.problem})
            )
        case FailureKind.OUT_OF_MEMORY:
            return error(
                Reason.OUT_OF_MEMORY,
                "{problem}: request a smaller size or fewer patches",
                problem=failed.problem,
            )
        case FailureKind.STORAGE_FULL:
            return full_error()
        case FailureKind.STORAGE_UNAVAILABLE:
            return unavailable_error()
        case FailureKind.INTERNAL:
            return internal(job_id)
