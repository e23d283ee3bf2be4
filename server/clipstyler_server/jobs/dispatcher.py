"""Takes jobs in, feeds the worker one at a time, and turns what the engine says into the jobs' events."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from clipstyler_server import logs
from clipstyler_server.engine.base import (
    Broke,
    Cautioned,
    Engine,
    EngineEvent,
    Finished,
    JobEvent,
    Previewed,
    Progressed,
    Started,
    StopCause,
    Stopped,
    WorkerLost,
    WorkerReady,
    WorkerState,
)
from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.jobs.events import Cancelled, CancelReason, Chunk, End, Failed, Queued, Succeeded, Warned
from clipstyler_server.jobs.failures import (
    RESTART_WAIT_S,
    crash_error,
    deadline_error,
    draining_error,
    failure,
    unreachable_error,
)
from clipstyler_server.jobs.forecast import Forecast
from clipstyler_server.jobs.model import Job
from clipstyler_server.jobs.queue import JobQueue, QueueFullError
from clipstyler_server.jobs.recorder import Recorder
from clipstyler_server.jobs.records import State
from clipstyler_server.settings import MAX_MESSAGE_BYTES, MIB
from clipstyler_server.telemetry import Metrics

CHUNK_BYTES = MIB
INLINE_BYTES = MAX_MESSAGE_BYTES - MIB  # a result also carries texts, versions and models
_LONGEST_RETRY_S = 600.0
_STOP_WAIT_S = 5.0  # for the last step of a job that outlasts its grace
_CERTAINTY = 0.8  # share of the expected time that must fit before a deadline


class Dispatcher:
    """Between the services, the queue and the engine. Lives on the event loop; never waits.

    Parameters
    ----------
    queue
        Where jobs wait.
    metrics
        Where it is counted.
    recorder
        Where it is written down.

    Attributes
    ----------
    jobs
        Those that wait, run or are being written down, by id.
    running
        The job that the worker has; None while it is free.
    draining
        Whether the server shuts down.
    """

    def __init__(self, queue: JobQueue, metrics: Metrics, recorder: Recorder) -> None:
        self.queue = queue
        self.jobs: dict[str, Job] = {}
        self.running: Job | None = None
        self.draining = False
        self._engine: Engine | None = None
        self._metrics = metrics
        self._recorder = recorder
        self._forecast = Forecast()
        self._ending: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def attach(self, engine: Engine) -> None:
        """Name the engine that runs the jobs; it comes later because it reports to `handle`."""
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The engine that runs the jobs."""
        if self._engine is None:
            raise RuntimeError("attach an engine first")
        return self._engine

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Keep a place in the queue while a request is being admitted.

        Raises
        ------
        ServiceError
            DRAINING, WORKER_NOT_READY or QUEUE_FULL.
        """
        self.check_open()
        try:
            with self.queue.reserve(running=int(self.running is not None)):
                yield
        except QueueFullError:
            raise ServiceError(
                Reason.QUEUE_FULL,
                f"{self.queue.capacity} jobs wait already, which is the limit: try again later",
                retry_delay_s=self._retry_delay_s(),
            ) from None

    def check_open(self) -> None:
        """Raise `ServiceError` unless the server takes jobs."""
        if self.draining:
            raise draining_error()
        if self.engine.state is not WorkerState.READY:
            raise ServiceError(
                Reason.WORKER_NOT_READY,
                f"the worker {self.engine.state.in_words}: try again in a moment",
                retry_delay_s=RESTART_WAIT_S,
            )

    def check_deadline(self, job: Job) -> None:
        """Raise `ServiceError` if a job, put into the queue now, would not be over in time."""
        ends_s = self._forecast.starts(self.running, [*self.queue.before(job), job])[-1]
        if ends_s is not None and _CERTAINTY * ends_s > job.remaining_s:
            raise unreachable_error(ends_s, job.remaining_s)

    def accept(self, job: Job, warnings: tuple[Warned, ...] = ()) -> None:
        """Put a job into the queue, tell its readers, and start it if nothing runs."""
        self.jobs[job.id] = job
        self.queue.put(job)
        self._tell_positions()
        for warning in warnings:
            job.publish(warning)
        loop = asyncio.get_running_loop()
        self._timers[job.id] = loop.call_later(max(0.0, job.remaining_s), self._expire, job)
        logs.get_logger().info("job_queued", job_id=job.id, position=job.position, steps=job.order.config.steps)
        logs.get_logger().debug("job_texts", job_id=job.id, style_text=job.order.style_text)
        if not self.draining:
            self._feed()

    def outlook(self) -> dict[str, Queued]:
        """Tell of every waiting job, in their order, how many run or wait before it, and when it may start."""
        waiting, now = self.queue.order(), datetime.now(UTC)
        first = int(self.running is not None)
        return {
            job.id: Queued(position, job.order.seed, None if wait_s is None else now + timedelta(seconds=wait_s))
            for position, (job, wait_s) in enumerate(
                zip(waiting, self._forecast.starts(self.running, waiting), strict=False), start=first
            )
        }

    def watchers(self) -> int:
        """Count those who follow a job."""
        return sum(job.watchers for job in self.jobs.values())

    def cancel(self, job: Job, reason: CancelReason) -> None:
        """Stop a job wherever it is; one that is over is left alone."""
        if self.queue.remove(job.id):
            error = ServiceError(Reason.CANCELLED, "it was cancelled before the work began")
            self._end(job, State.CANCELLED, Cancelled(0, error, reason))
        elif job is self.running:
            job.cancel_reason = job.cancel_reason or reason
            self.engine.cancel(job.id)

    def handle(self, event: EngineEvent) -> None:
        """Take an event of the engine."""
        if isinstance(event, WorkerReady):
            self._feed()
        elif isinstance(event, WorkerLost):
            self._lose(event.problem)
        elif self.running and event.job_id == self.running.id:
            self._advance(self.running, event)

    def close(self) -> None:
        """Refuse new jobs from now on."""
        self.draining = True

    async def drain(self, grace_s: float) -> None:
        """Send waiting calls away and give the running job its grace; call `close` before. Durable jobs stay queued."""
        while job := self.queue.pop():
            if job.one_shot:
                self._end(job, State.CANCELLED, Cancelled(0, draining_error(), CancelReason.DRAINING))
            else:
                self._forget(job)
        if not await self._is_idle_within(grace_s):
            self.cut_short()
            if not await self._is_idle_within(_STOP_WAIT_S) and self.running:
                self._break_off(self.running, 0)
        if self._ending:
            await asyncio.wait(set(self._ending), timeout=_STOP_WAIT_S)
        for job in list(self.jobs.values()):
            job.dismiss(draining_error())

    def cut_short(self) -> None:
        """Stop the running job because the server ends, without waiting for the end of its grace."""
        if self.running:
            self.running.cancel_reason = self.running.cancel_reason or CancelReason.DRAINING
            self.running.stop_error = draining_error()
            self.engine.cancel(self.running.id)

    async def _is_idle_within(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _feed(self) -> None:
        """Give the worker the next job, if it is free and one waits."""
        while not self.running and self.engine.state is WorkerState.READY and (job := self.queue.pop()):
            if job.remaining_s <= 0:
                self._end(job, State.FAILED, Failed(deadline_error()))
                continue
            job.become(State.RUNNING)
            self.running = job
            self._idle.clear()
            self._recorder.begun(job)
            self.engine.submit(dataclasses.replace(job.order, timeout_s=job.remaining_s))
        self._tell_positions()

    def _tell_positions(self) -> None:
        """Tell the readers of every waiting job whose place has changed."""
        for job_id, queued in self.outlook().items():
            job = self.jobs[job_id]
            if job.position != queued.position:
                job.position = queued.position
                job.publish(queued)

    def _advance(self, job: Job, event: JobEvent) -> None:
        match event:
            case Progressed():
                self._metrics.step_taken(event.step_s)
                self._forecast.note_step(job.order, event.step_s)
                job.step = event.step
                job.publish(event)
            case Previewed():
                self._metrics.preview_made(job.id, job.age_s)
                job.publish(event)
            case Started():
                job.publish(event)
            case Cautioned():
                job.publish(Warned(event.code, event.message))
            case Finished():
                self._succeed(job, event)
            case Stopped():
                self._stopped(job, event)
            case Broke():
                self._end(job, State.FAILED, Failed(failure(event, job.id)))

    def _succeed(self, job: Job, finished: Finished) -> None:
        self._forecast.note_job(job.order, finished)
        in_chunks = len(finished.image.data) > INLINE_BYTES
        self._end(job, State.SUCCEEDED, Succeeded(finished, job.order, job.queued_s, job.decode_s, in_chunks))

    def _stopped(self, job: Job, stopped: Stopped) -> None:
        if stopped.cause is StopCause.DEADLINE:
            self._end(job, State.FAILED, Failed(deadline_error()))
            return
        self._metrics.steps_after_cancel(stopped.steps_after_cancel)
        logs.get_logger().info(
            "job_stopped", job_id=job.id, step=stopped.step, steps_after_cancel=stopped.steps_after_cancel
        )
        self._break_off(job, stopped.step)

    def _break_off(self, job: Job, step: int) -> None:
        """End a running job that was stopped; a durable one that a shutdown stops waits for the next server."""
        reason = job.cancel_reason or CancelReason.REQUESTED
        if reason is CancelReason.DRAINING and not job.one_shot:
            self._free(job)
            self._later(self._recorder.requeue(job))
            self._forget(job)
            return
        error = job.stop_error or ServiceError(Reason.CANCELLED, "the stylization was cancelled")
        self._end(job, State.CANCELLED, Cancelled(step, error, reason))

    def _expire(self, job: Job) -> None:
        """End a waiting job at its deadline; a running one is stopped by the worker, which has the deadline too."""
        if self.queue.remove(job.id):
            self._end(job, State.FAILED, Failed(deadline_error()))

    def _lose(self, problem: str) -> None:
        if self.running:
            self._end(self.running, State.FAILED, Failed(crash_error(problem)))

    def _end(self, job: Job, state: State, payload: End) -> None:
        self._timers.pop(job.id).cancel()
        self._free(job)
        self._later(self._conclude(job, state, payload))
        if not self.draining:
            self._feed()

    async def _conclude(self, job: Job, state: State, payload: End) -> None:
        """Between the end of the work and what readers are told: the one place where more can be added to a result."""
        if isinstance(payload, Succeeded) and payload.in_chunks:
            data = memoryview(payload.finished.image.data)
            parts = [
                job.next_event(Chunk(offset, data[offset : offset + CHUNK_BYTES]))
                for offset in range(0, len(data), CHUNK_BYTES)
            ]
        else:
            parts = []
        kept = await self._recorder.keep(job, state, job.next_event(payload))
        job.become(kept.state)
        self._metrics.job_ended(kept.state, job.age_s)
        end = kept.end.payload
        reason = end.error.reason if isinstance(end, Failed | Cancelled) else None
        logs.get_logger().info("job_ended", job_id=job.id, state=kept.state, reason=reason, seconds=round(job.age_s, 3))
        for part in parts if kept.state is State.SUCCEEDED else ():
            job.tell(part)
        job.tell(kept.end)
        # Until then it is known here only.
        await kept.stored()
        del self.jobs[job.id]

    def _free(self, job: Job) -> None:
        if job is self.running:
            self.running = None
            self._idle.set()

    def _forget(self, job: Job) -> None:
        """Let go of a job that stays stored as waiting."""
        self.jobs.pop(job.id, None)
        if timer := self._timers.pop(job.id, None):
            timer.cancel()
        job.dismiss(draining_error())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        task.add_done_callback(_tell_if_broken)

    def _retry_delay_s(self) -> float:
        """Guess when a place becomes free: when the running job ends."""
        rest_s = self._forecast.seconds(self.running.order, self.running.step) if self.running else None
        return min(max(1.0, self._forecast.typical_job_s if rest_s is None else rest_s), _LONGEST_RETRY_S)


def _tell_if_broken(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logs.get_logger().error("ending_broke", exc_info=error)
