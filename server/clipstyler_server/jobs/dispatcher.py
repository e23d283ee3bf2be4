"""Takes jobs in, feeds the worker one at a time, and turns what the engine says into the jobs' events."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from clipstyler_server import logs
from clipstyler_server.engine.base import (
    Broke,
    Cautioned,
    Engine,
    EngineEvent,
    FailureKind,
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
from clipstyler_server.errors import Reason, ServiceError, Violation, blame, internal, invalid
from clipstyler_server.jobs.events import Cancelled, Chunk, Failed, Queued, Succeeded, Warned
from clipstyler_server.jobs.model import Job, State
from clipstyler_server.jobs.queue import JobQueue, QueueFullError
from clipstyler_server.settings import MAX_MESSAGE_BYTES, MIB
from clipstyler_server.telemetry import Metrics

CHUNK_BYTES = MIB
INLINE_BYTES = MAX_MESSAGE_BYTES - MIB  # a result also carries texts, versions and models
_RESTART_WAIT_S = 5.0
_FIRST_GUESS_S = 10.0  # length of a job before one was measured
_LONGEST_RETRY_S = 600.0
_STOP_WAIT_S = 5.0  # for the last step of a job that outlasts its grace


class Dispatcher:
    """Between the services, the queue and the engine. Lives on the event loop; never waits.

    Parameters
    ----------
    queue
        Where jobs wait.
    metrics
        Where it is counted.

    Attributes
    ----------
    running
        The job that the worker has; None while it is free.
    draining
        Whether the server shuts down.
    """

    def __init__(self, queue: JobQueue, metrics: Metrics) -> None:
        self.queue = queue
        self.running: Job | None = None
        self.draining = False
        self._engine: Engine | None = None
        self._metrics = metrics
        self._idle = asyncio.Event()
        self._idle.set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._typical_s = _FIRST_GUESS_S
        self._remaining_s: float | None = None

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
                retry_delay_s=_RESTART_WAIT_S,
            )

    def accept(self, job: Job, warnings: tuple[Warned, ...] = ()) -> None:
        """Put a job into the queue, tell its reader, and start it if nothing runs."""
        if self.draining:
            raise draining_error()
        position = self.queue.put(job) + int(self.running is not None)
        job.publish(Queued(position, job.order.seed))
        for warning in warnings:
            job.publish(warning)
        loop = asyncio.get_running_loop()
        self._timers[job.id] = loop.call_later(max(0.0, job.remaining_s), self._expire, job)
        logs.get_logger().info("job_queued", job_id=job.id, position=position, steps=job.order.config.steps)
        logs.get_logger().debug("job_texts", job_id=job.id, style_text=job.order.style_text)
        self._feed()

    def abandon(self, job: Job) -> None:
        """Stop a job whose reader is gone, wherever it is; a job that is over is left alone."""
        if self.queue.remove(job.id):
            error = ServiceError(Reason.CANCELLED, "the caller went away before the work began")
            self._end(job, State.CANCELLED, Cancelled(0, error))
        elif job is self.running:
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
        """Send the waiting jobs away and give the running one its grace; call `close` before."""
        while job := self.queue.pop():
            self._end(job, State.CANCELLED, Cancelled(0, draining_error()))
        if await self._is_idle_within(grace_s):
            return
        self.cut_short()
        if not await self._is_idle_within(_STOP_WAIT_S) and self.running:
            self._end(self.running, State.CANCELLED, Cancelled(0, draining_error()))

    def cut_short(self) -> None:
        """Stop the running job because the server ends, without waiting for the end of its grace."""
        if self.running:
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
        if self.running or self.engine.state is not WorkerState.READY:
            return
        if job := self.queue.pop():
            job.become(State.RUNNING)
            self.running = job
            self._remaining_s = None
            self._idle.clear()
            self.engine.submit(dataclasses.replace(job.order, timeout_s=max(0.0, job.remaining_s)))

    def _advance(self, job: Job, event: JobEvent) -> None:
        match event:
            case Progressed():
                self._remaining_s = event.remaining_s
                self._metrics.step_taken(event.step_s)
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
                self._end(job, State.FAILED, Failed(_failure(event, job)))

    def _succeed(self, job: Job, finished: Finished) -> None:
        data = memoryview(finished.image.data)
        in_chunks = len(data) > INLINE_BYTES
        if in_chunks:
            for offset in range(0, len(data), CHUNK_BYTES):
                job.publish(Chunk(offset, data[offset : offset + CHUNK_BYTES]))
        self._typical_s += 0.3 * (job.age_s - job.queued_s - self._typical_s)
        end = Succeeded(finished, job.order, job.queued_s, job.decode_s, in_chunks)
        self._end(job, State.SUCCEEDED, end)

    def _stopped(self, job: Job, stopped: Stopped) -> None:
        if stopped.cause is StopCause.DEADLINE:
            self._end(job, State.FAILED, Failed(deadline_error()))
            return
        self._metrics.steps_after_cancel(stopped.steps_after_cancel)
        logs.get_logger().info(
            "job_stopped", job_id=job.id, step=stopped.step, steps_after_cancel=stopped.steps_after_cancel
        )
        error = job.stop_error or ServiceError(Reason.CANCELLED, "the caller cancelled the stylisation")
        self._end(job, State.CANCELLED, Cancelled(stopped.step, error))

    def _expire(self, job: Job) -> None:
        """End a waiting job at its deadline; a running one is stopped by the worker, which has the deadline too."""
        if self.queue.remove(job.id):
            self._end(job, State.FAILED, Failed(deadline_error()))

    def _lose(self, problem: str) -> None:
        if self.running:
            error = ServiceError(
                Reason.WORKER_CRASHED,
                f"the worker {problem} and is started again: try again in a moment",
                retry_delay_s=_RESTART_WAIT_S,
            )
            self._end(self.running, State.FAILED, Failed(error))

    def _end(self, job: Job, state: State, payload: Succeeded | Failed | Cancelled) -> None:
        job.become(state)
        self._timers.pop(job.id).cancel()
        if job is self.running:
            self.running = None
            self._idle.set()
        self._metrics.job_ended(state, job.age_s)
        reason = None if isinstance(payload, Succeeded) else payload.error.reason
        logs.get_logger().info("job_ended", job_id=job.id, state=state, reason=reason, seconds=round(job.age_s, 3))
        job.publish(payload)
        if not self.draining:
            self._feed()

    def _retry_delay_s(self) -> float:
        """Guess when a place becomes free: when the running job ends."""
        known = self._remaining_s if self._remaining_s is not None else self._typical_s
        return min(max(1.0, known), _LONGEST_RETRY_S)


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


def _failure(event: Broke, job: Job) -> ServiceError:
    match event.kind:
        case FailureKind.INVALID:
            return invalid(blame(event.field, event.problem))
        case FailureKind.DIVERGED:
            return ServiceError(Reason.DIVERGED, event.problem, violations=(Violation("options", event.problem),))
        case FailureKind.OUT_OF_MEMORY:
            return ServiceError(Reason.OUT_OF_MEMORY, f"{event.problem}: ask for a smaller size or fewer patches")
        case FailureKind.INTERNAL:
            return internal(job.id)
