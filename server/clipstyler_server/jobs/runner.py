"""Runs jobs on the engine: publishes what it reports of each, and returns how the job ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import structlog

from clipstyler.events import Optimized, Preparing, Preview, Progress, Rendering, Result, Started, Warning
from clipstyler.imaging import ImageFile
from clipstyler_server.errors import ServiceError, internal
from clipstyler_server.jobs.events import Cancelled, CancelReason, End, Failed
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import crash_error, deadline_error, failure
from clipstyler_server.jobs.outlook import Outlook
from clipstyler_server.jobs.persister import JobPersister
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import enter_span
from clipstyler_server.workers.engine import Engine, EngineEvent, EngineLost, StopCause, TaskFailed, TaskStopped

_MAX_LOST_STARTS = 3  # then the job itself is to blame
_MAX_LOST_RUNS = 2  # of a job whose machine was lost, its first one included


class JobRunner:
    """Runs jobs, each from its start to its end.

    Parameters
    ----------
    engine
        Runs them.
    persister
        Stores that they run.
    metrics
        Counts steps and cancellations.
    outlook
        Learns how long they take.
    """

    def __init__(self, engine: Engine, persister: JobPersister, metrics: Metrics, outlook: Outlook) -> None:
        self._engine = engine
        self._persister = persister
        self._metrics = metrics
        self._outlook = outlook

    async def run(self, job: Job) -> End | None:
        """Run a job on the engine and return how it ended; None if it is to be run again, here or elsewhere.

        What the current task logs and traces belongs to the job from now on.
        """
        structlog.contextvars.bind_contextvars(**job.log_context)
        enter_span(job.trace.whole)
        self._persister.record_start(job)
        end = await self._outcome(job)
        if job.cancelled is not None:
            self._metrics.job_cancelled(time.monotonic() - job.cancelled, job.trace.exemplar)
        return end

    def cancel(self, job: Job, reason: CancelReason) -> None:
        """Stop a running job soon; the first reason counts."""
        job.cancel_reason = job.cancel_reason or reason
        job.cancelled = job.cancelled or time.monotonic()
        self._engine.cancel(job.id)

    async def _outcome(self, job: Job) -> End | None:
        try:
            return await self._result(job)
        except TaskStopped as stopped:
            return self._stopped(job, stopped)
        except (TaskFailed, ServiceError) as failed:
            error = failure(failed, job.id) if isinstance(failed, TaskFailed) else failed
            return Failed(error.details)
        except EngineLost as lost:
            return _lost(job, lost)
        except asyncio.CancelledError:
            # Shutdown: the engine did not stop in time.
            return _interrupted(job, job.step, CancelReason.DRAINING)
        except Exception:  # noqa: BLE001 - a defect fails one job, not the server
            logs.get_logger().exception("job_processing_failed", job_id=job.id)
            return Failed(internal(job.id).details)

    async def _result(self, job: Job) -> Result[ImageFile]:
        """Have the engine run a job, and publish what it reports up to the result."""
        result: Result[ImageFile] | None = None
        async with aclosing(self._begun(job)) as events:
            async for event in events:
                if isinstance(event, Result):
                    result = self._completed(job, event)
                else:
                    self._advance(job, event)
        if result is None:
            raise RuntimeError("the engine has neither returned a result nor said why")
        return result

    def _begun(self, job: Job) -> AsyncGenerator[EngineEvent, Any]:
        """Have the engine begin a job, unless it was cancelled before the engine knew of it."""
        if job.cancel_reason:
            raise TaskStopped(StopCause.CANCELLED, 0)
        return self._engine.run(job.task())

    def _advance(self, job: Job, event: EngineEvent) -> None:
        """Publish an event of the engine."""
        job.begun = True
        if _ends_preparation(event) and not job.prepared:
            job.prepared = True
            job.trace.enter("steps")
            self._metrics.job_prepared(job.age_s - job.queued_s, job.trace.exemplar)
        match event:
            case Progress():
                steps = event.step - job.step  # of which only the latest is reported
                self._metrics.steps_completed(steps, event.step_s, job.watchers > 0, job.trace.exemplar)
                self._metrics.tenants.steps_completed(job.caller.tenant, steps)
                self._outlook.add_step(job.spec, event.step_s)
                job.step = event.step
                job.publish(event)
            case Preview():
                if job.preview is None:
                    self._metrics.first_preview_made(job.age_s, job.trace.exemplar)
                job.trace.event("preview", step=event.step)
                job.publish(event)
            case Optimized():
                job.trace.enter("render")
            case Preparing():
                job.publish(replace(event, remaining_s=self._outlook.remaining_s(job)))
            case Started() | Rendering() | Warning():
                job.publish(event)

    def _completed(self, job: Job, result: Result[ImageFile]) -> Result[ImageFile]:
        self._outlook.add_job(job.spec, result.timings)
        return replace(result, timings=replace(result.timings, queued_s=job.queued_s, decode_s=job.decode_s))

    def _stopped(self, job: Job, stopped: TaskStopped) -> End | None:
        if stopped.cause is StopCause.DEADLINE:
            return Failed(deadline_error().details)
        self._metrics.steps_after_cancel(stopped.steps_after_cancel)
        logs.get_logger().info(
            "job_stopped", job_id=job.id, step=stopped.step, steps_after_cancel=stopped.steps_after_cancel
        )
        return _interrupted(job, stopped.step, CancelReason.REQUESTED)


def _interrupted(job: Job, step: int, otherwise: CancelReason) -> End | None:
    """Return how a stopped job ends, which may have no reason of its own; None if it waits for the next server."""
    reason = job.cancel_reason or otherwise
    if reason is CancelReason.DRAINING and not job.one_shot:
        return None
    return Cancelled(step, reason)


def _lost(job: Job, lost: EngineLost) -> End | None:
    """Return how a job ends whose engine was lost; None if it is to be run again, unless it was cancelled."""
    if job.cancel_reason:
        return _interrupted(job, job.step, job.cancel_reason)
    job.lost_runs += 1
    return None if _may_run_again(job, lost) else Failed(crash_error(lost.problem).details)


def _may_run_again(job: Job, lost: EngineLost) -> bool:
    """Whether a job runs once more whose engine was lost: it had not begun, or its machine is to blame.

    Runs that ended in another way do not count: a server that is stopped says nothing about its jobs.
    """
    return job.lost_runs < (_MAX_LOST_RUNS if lost.again else _MAX_LOST_STARTS) and (lost.again or not job.begun)


def _ends_preparation(event: EngineEvent) -> bool:
    """Whether the first step begins with an event, or it is the first sign of a step."""
    return isinstance(event, Preview | Progress) or (isinstance(event, Preparing) and event.step == event.steps)
