"""Accepts jobs, runs them on the engine, as many at a time as it has places, and publishes what happens to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

import structlog

from clipstyler.events import Optimized, Preparing, Preview, Progress, Rendering, Result, Started, Warning
from clipstyler.imaging import ImageFile
from clipstyler_server.errors import ServiceError, internal
from clipstyler_server.jobs.chunks import chunks_of
from clipstyler_server.jobs.events import Cancelled, CancelReason, Chunk, Draft, End, Failed
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import (
    crash_error,
    deadline_error,
    draining_error,
    failure,
    not_ready_error,
    queue_full_error,
)
from clipstyler_server.jobs.outlook import Outlook
from clipstyler_server.jobs.persister import JobPersister
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import enter_span
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import State
from clipstyler_server.turns import QueueFullError
from clipstyler_server.workers.engine import (
    Devices,
    Engine,
    EngineEvent,
    EngineLost,
    StopCause,
    TaskFailed,
    TaskStopped,
    WorkerState,
)

_STOP_WAIT_S = 5.0  # for the last step of a job that outlasts its grace period
_MAX_LOST_STARTS = 3  # then the job itself is to blame
_MAX_LOST_RUNS = 2  # of a job whose machine was lost, its first one included


class Scheduler:
    """Between admission, the queue and the engine. Lives on the event loop.

    Parameters
    ----------
    queue
        Holds waiting jobs.
    engine
        Runs jobs.
    devices
        What it runs them on; `wake` is called when one of them changes.
    persister
        Stores their states.
    metrics
        Counts steps, jobs and cancellations.
    claims
        Whether it is given jobs that it claimed from a queue elsewhere, one per free place: then none waits here.

    Attributes
    ----------
    jobs
        Jobs that wait, run or are being stored, by id.
    running
        Those that the engine has, by id, in the order of their starts.
    draining
        Whether the server is shutting down.
    freed
        Notified when a place may be free.
    outlook
        When they are expected to start and to end.
    on_accepted
        Called with each job that is put into the queue.
    """

    def __init__(
        self,
        queue: JobQueue[Job],
        engine: Engine,
        devices: Devices,
        persister: JobPersister,
        metrics: Metrics,
        claims: bool = False,
    ) -> None:
        self.queue = queue
        self.engine = engine
        self.devices = devices
        self.jobs: dict[str, Job] = {}
        self.running: dict[str, Job] = {}
        self.draining = False
        self.freed = ChangeSignal()
        self._persister = persister
        self._metrics = metrics
        self._claims = claims
        self.outlook = Outlook(queue, self.running, devices)
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._runs: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self.on_accepted: Callable[[Job], None] = _ignore
        # Of jobs whose end is not being stored yet.
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def problems(self) -> list[str]:
        """Return why no device takes jobs; empty if one does. A full queue is not a problem."""
        return [] if self.devices.state is WorkerState.READY else [f"the worker {self.devices.state.in_words}"]

    def check_open(self) -> None:
        """Raise `ServiceError` DRAINING or WORKER_NOT_READY unless jobs are taken."""
        if self.draining:
            raise draining_error()
        if self.devices.state is not WorkerState.READY:
            raise not_ready_error(self.devices.state.in_words)

    @contextmanager
    def reserve(self, caller: Caller) -> Iterator[None]:
        """Reserve a place in the queue for a caller while its request is being admitted.

        Raises
        ------
        ServiceError
            DRAINING, WORKER_NOT_READY or QUEUE_FULL.
        """
        self.check_open()
        try:
            with self.queue.reserve(self._free_count(), caller.account, caller.limits.queue_share):
                yield
        except QueueFullError as full:
            raise queue_full_error(full.places, full.of_caller, self.outlook.retry_delay_s()) from None

    def accept(self, job: Job, warnings: tuple[Warning, ...] = ()) -> None:
        """Put a job into the queue and publish its position."""
        self.jobs[job.id] = job
        self.queue.put(job)
        self._publish_positions()
        for warning in warnings:
            job.publish(warning)
        loop = asyncio.get_running_loop()
        self._timers[job.id] = loop.call_later(max(0.0, job.remaining_s), self._expire, job)
        if not self._claims:  # else it has waited already
            job.trace.enter("queue")
            logs.get_logger().info("job_queued", job_id=job.id, position=job.position, steps=job.spec.config.steps)
            logs.get_logger().debug("job_texts", job_id=job.id, style_text=job.spec.style_text)
        self.wake()
        self.on_accepted(job)

    def wake(self) -> None:
        """Look whether a job can start: one has arrived, or a device has become free or ready."""
        self._changed.set()
        self.freed.notify()

    def publish_draft(self, job: Job, draft: Draft) -> None:
        """Publish the draft of a job that waits or runs, unless it comes after a preview: then it is of no use."""
        if job.id in self._timers and job.preview is None:
            job.trace.event("draft")
            job.publish(draft)

    async def run(self) -> None:
        """Start a job whenever one waits and a place is free, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._free_count() and (job := self._start_next()):
                run = asyncio.create_task(self._process(job), name=f"job-{job.id}")
                self._runs.add(run)
                run.add_done_callback(self._runs.discard)

    def running_count(self) -> int:
        """Return the number of running jobs."""
        return len(self.running)

    def job_count(self) -> int:
        """Return the number of jobs that run or wait."""
        return len(self.running) + len(self.queue)

    def _free_count(self) -> int:
        """Return the number of jobs that would start at once."""
        return max(0, self.devices.places - len(self.running))

    def free_places(self) -> int:
        """Return how many jobs more could start now."""
        return 0 if self.draining else max(0, self._free_count() - len(self.queue))

    def watchers(self) -> int:
        """Return the number of calls that follow a job."""
        return sum(job.watchers for job in self.jobs.values())

    def cancel(self, job: Job, reason: CancelReason) -> None:
        """Cancel a job wherever it is; a finished one is left alone."""
        if self.queue.remove(job.id):
            self._end(job, State.CANCELLED, Cancelled(0, reason))
        elif job.id in self.running:
            self._cancel_at_work(job, reason)

    def close(self) -> None:
        """Refuse new jobs from now on, and start no waiting one."""
        self.draining = True

    async def drain(self, grace_s: float) -> None:
        """End waiting calls and give running jobs their grace period; call `close` first. Durable jobs stay queued."""
        while job := self.queue.pop():
            if job.one_shot:
                self._end(job, State.CANCELLED, Cancelled(0, CancelReason.DRAINING))
            else:
                self._release(job)
        if not await self._is_idle_within(grace_s):
            self.cancel_running()
            if not await self._is_idle_within(_STOP_WAIT_S) and (runs := set(self._runs)):
                for run in runs:
                    run.cancel()
                await asyncio.wait(runs)
        if self._endings:
            await asyncio.wait(set(self._endings), timeout=_STOP_WAIT_S)
        for job in list(self.jobs.values()):
            job.disconnect(draining_error())

    def cancel_running(self) -> None:
        """Stop running jobs because the server exits, without waiting for the end of their grace period."""
        for job in self.running.values():
            self._cancel_at_work(job, CancelReason.DRAINING)

    def let_go(self) -> None:
        """Stop and release every job, because others may run them soon."""
        while job := self.queue.pop():
            self._release(job)
        self.cancel_running()

    def _cancel_at_work(self, job: Job, reason: CancelReason) -> None:
        job.cancel_reason = job.cancel_reason or reason
        job.cancelled = job.cancelled or time.monotonic()
        self.engine.cancel(job.id)

    async def _is_idle_within(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _start_next(self) -> Job | None:
        """Take the next job that can still finish in time, if there is one."""
        while not self.draining and (job := self.queue.pop()):
            if job.remaining_s <= 0:
                self._end(job, State.FAILED, Failed(deadline_error().details))
                continue
            job.enter(State.RUNNING)
            job.trace.enter("prepare")
            self._metrics.job_started(job.queued_s, job.trace.exemplar)
            self.running[job.id] = job
            self._idle.clear()
            self._publish_positions()
            return job
        return None

    async def _process(self, job: Job) -> None:
        """Run a job on the engine, from its start to its end; what this task logs and traces belongs to the job."""
        structlog.contextvars.bind_contextvars(**job.log_context)
        enter_span(job.trace.whole)
        self._persister.record_start(job)
        state: State = State.FAILED
        end: End | None = None
        try:
            async with aclosing(self._begun(job)) as events:
                async for event in events:
                    if isinstance(event, Result):
                        state, end = State.SUCCEEDED, self._completed(job, event)
                    else:
                        self._advance(job, event)
        except TaskStopped as stopped:
            state, end = self._stopped(job, stopped)
        except (TaskFailed, ServiceError) as failed:
            error = failure(failed, job.id) if isinstance(failed, TaskFailed) else failed
            end = Failed(error.details)
        except EngineLost as lost:
            if _may_run_again(job, lost):
                self._try_again(job)
                return
            end = Failed(crash_error(lost.problem).details)
        except asyncio.CancelledError:
            # Shutdown: the engine did not stop in time.
            state, end = self._interrupted(job, job.step)
        except Exception:  # noqa: BLE001 - a defect fails one job, not the server
            logs.get_logger().exception("job_processing_failed", job_id=job.id)
            end = Failed(internal(job.id).details)
        self._leave_engine(job)
        if end is None:
            self._in_background(self._persister.requeue(job))
            self._release(job)
        else:
            self._end(job, state, end)

    def _begun(self, job: Job) -> AsyncGenerator[EngineEvent, Any]:
        """Have the engine begin a job, unless it was cancelled before the engine knew of it."""
        if job.cancel_reason:
            raise TaskStopped(StopCause.CANCELLED, 0)
        return self.engine.run(job.task())

    def _try_again(self, job: Job) -> None:
        """Put a job back whose engine was lost: it waits for the next one."""
        self._leave_engine(job)
        self._in_background(self._persister.requeue(job))
        if self.draining or self._claims:
            self._release(job)
            return
        job.enter(State.QUEUED)
        job.trace.enter("queue")
        job.begin_again()
        self.queue.put_back(job)
        self._publish_positions()
        self.wake()
        logs.get_logger().info("job_waits_again", job_id=job.id, attempts=job.attempts)

    def _leave_engine(self, job: Job) -> None:
        del self.running[job.id]
        if not self.running:
            self._idle.set()
        self.wake()
        if job.cancelled is not None:
            self._metrics.job_cancelled(time.monotonic() - job.cancelled, job.trace.exemplar)

    def _advance(self, job: Job, event: EngineEvent) -> None:
        """Publish an event of the engine."""
        job.begun = True
        if _ends_preparation(event) and not job.prepared:
            job.prepared = True
            job.trace.enter("steps")
            self._metrics.job_prepared(job.age_s - job.queued_s, job.trace.exemplar)
        match event:
            case Progress():
                self._metrics.step_completed(event.step_s, job.watchers > 0, job.trace.exemplar)
                self._metrics.tenants.step_completed(job.caller.tenant)
                self.outlook.add_step(job.spec, event.step_s)
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
                job.publish(replace(event, remaining_s=self.outlook.remaining_s(job)))
            case Started() | Rendering() | Warning():
                job.publish(event)

    def _completed(self, job: Job, result: Result[ImageFile]) -> Result[ImageFile]:
        self.outlook.add_job(job.spec, result.timings)
        return replace(result, timings=replace(result.timings, queued_s=job.queued_s, decode_s=job.decode_s))

    def _stopped(self, job: Job, stopped: TaskStopped) -> tuple[State, End | None]:
        if stopped.cause is StopCause.DEADLINE:
            return State.FAILED, Failed(deadline_error().details)
        self._metrics.steps_after_cancel(stopped.steps_after_cancel)
        logs.get_logger().info(
            "job_stopped", job_id=job.id, step=stopped.step, steps_after_cancel=stopped.steps_after_cancel
        )
        return self._interrupted(job, stopped.step)

    def _interrupted(self, job: Job, step: int) -> tuple[State, End | None]:
        """How a stopped job ends; None if it waits for the next server."""
        reason = job.cancel_reason or (CancelReason.DRAINING if self.draining else CancelReason.REQUESTED)
        if reason is CancelReason.DRAINING and not job.one_shot:
            return State.QUEUED, None
        return State.CANCELLED, Cancelled(step, reason)

    def _publish_positions(self) -> None:
        """Publish the position of every waiting job whose position has changed."""
        for job_id, queued in self.outlook.queue_estimates().items():
            job = self.jobs[job_id]
            if job.position != queued.position:
                job.position = queued.position
                job.publish(queued)

    def _expire(self, job: Job) -> None:
        """Fail a waiting job at its deadline; a running one is stopped by the engine, which has the deadline too."""
        if self.queue.remove(job.id):
            self._end(job, State.FAILED, Failed(deadline_error().details))

    def _end(self, job: Job, state: State, end: End) -> None:
        self._timers.pop(job.id).cancel()
        self._in_background(self._conclude(job, state, end))
        self._publish_positions()

    async def _conclude(self, job: Job, state: State, end: End) -> None:
        """Store the end of a job, then publish it."""
        job.trace.enter("store")
        parts = [job.next_event(part) for part in _parts(end)]
        stored = await self._persister.store_end(job, state, job.next_event(end), end)
        if stored is None:
            self._release(job)
            return
        job.enter(stored.state)
        self._metrics.job_finished(stored.state, job.age_s, job.trace.exemplar)
        self._metrics.tenants.job_finished(job.caller.tenant, stored.state)
        published = stored.event.payload
        reason = published.error.reason if isinstance(published, Failed) else None
        job.trace.end(stored.state, reason or "")
        logs.get_logger().info(
            "job_finished",
            job_id=job.id,
            state=stored.state,
            reason=reason,
            seconds=round(job.age_s, 3),
            **job.log_context,
        )
        for part in parts if stored.state is State.SUCCEEDED else ():
            job.deliver(part)
        job.deliver(stored.event)
        # Until then only this process knows of it.
        await stored.stored()
        del self.jobs[job.id]

    def _release(self, job: Job) -> None:
        """Let go of a job that stays stored as waiting."""
        job.trace.end("requeued")
        self.jobs.pop(job.id, None)
        if timer := self._timers.pop(job.id, None):
            timer.cancel()
        job.disconnect(draining_error())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        task.add_done_callback(_log_failure)


def _may_run_again(job: Job, lost: EngineLost) -> bool:
    """Whether a job runs once more whose engine was lost: it had not begun, or its machine is to blame."""
    return job.attempts < (_MAX_LOST_RUNS if lost.again else _MAX_LOST_STARTS) and (lost.again or not job.begun)


def _ignore(_: Job) -> None:
    """Begin nothing beside a job."""


def _ends_preparation(event: EngineEvent) -> bool:
    """Whether the first step begins with an event, or it is the first sign of a step."""
    return isinstance(event, Preview | Progress) or (isinstance(event, Preparing) and event.step == event.steps)


def _parts(end: End) -> list[Chunk]:
    return chunks_of(end.image.metadata) if isinstance(end, Result) else []


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logs.get_logger().error("job_end_failed", exc_info=error)
