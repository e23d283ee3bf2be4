"""Accepts jobs and starts the next one whenever a place is free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from clipstyler.events import Warning
from clipstyler_server.jobs.events import Cancelled, CancelReason, Draft, End, Failed
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import deadline_error, draining_error, not_ready_error, queue_full_error
from clipstyler_server.jobs.open_jobs import OpenJobs
from clipstyler_server.jobs.outlook import Outlook
from clipstyler_server.jobs.persister import JobPersister
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.jobs.runner import JobRunner
from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import State
from clipstyler_server.turns import QueueFullError
from clipstyler_server.workers.engine import Devices, Engine, WorkerState

_STOP_WAIT_S = 5.0  # for the last step of a job that outlasts its grace period


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
        self.devices = devices
        self.running: dict[str, Job] = {}
        self.draining = False
        self.freed = ChangeSignal()
        self.outlook = Outlook(queue, self.running, devices)
        self.on_accepted: Callable[[Job], None] = _ignore
        self._metrics = metrics
        self._claims = claims
        self._open = OpenJobs(persister, metrics)
        self.jobs: Mapping[str, Job] = self._open.jobs
        self._runner = JobRunner(engine, persister, metrics, self.outlook)
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._runs: set[asyncio.Task[None]] = set()

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
        self._open.add(job, self._expire)
        self.queue.put(job)
        self._publish_positions()
        for warning in warnings:
            job.publish(warning)
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
        if self._open.is_undecided(job) and job.preview is None:
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
            self._end(job, Cancelled(0, reason))
        elif job.id in self.running:
            self._runner.cancel(job, reason)

    def close(self) -> None:
        """Refuse new jobs from now on, and start no waiting one."""
        self.draining = True

    async def drain(self, grace_s: float) -> None:
        """End waiting calls and give running jobs their grace period; call `close` first. Durable jobs stay queued."""
        while job := self.queue.pop():
            if job.one_shot:
                self._end(job, Cancelled(0, CancelReason.DRAINING))
            else:
                self._open.release(job)
        if not await self._is_idle_within(grace_s):
            self.cancel_running()
            if not await self._is_idle_within(_STOP_WAIT_S) and (runs := set(self._runs)):
                for run in runs:
                    run.cancel()
                await asyncio.wait(runs)
        await self._open.close(_STOP_WAIT_S)

    def cancel_running(self) -> None:
        """Stop running jobs because the server exits, without waiting for the end of their grace period."""
        for job in self.running.values():
            self._runner.cancel(job, CancelReason.DRAINING)

    def let_go(self) -> None:
        """Stop and release every job, because others may run them soon."""
        while job := self.queue.pop():
            self._open.release(job)
        self.cancel_running()

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
                self._end(job, Failed(deadline_error().details))
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
        """Run a job on the engine, from its start to its end."""
        end = await self._runner.run(job)
        if end is None and job.remaining_s <= 0:  # while it ran, only its engine looked at its deadline
            end = Failed(deadline_error().details)
        del self.running[job.id]
        if not self.running:
            self._idle.set()
        self.wake()
        if end is None:
            self._put_back(job)
        else:
            self._end(job, end)

    def _put_back(self, job: Job) -> None:
        """Return a job that ran to the queue, or release it if this server will not run it."""
        self._open.requeue(job)
        if self.draining or self._claims:
            self._open.release(job)
            return
        job.enter(State.QUEUED)
        job.trace.enter("queue")
        job.begin_again()
        self.queue.put_back(job)
        self._publish_positions()
        self.wake()
        logs.get_logger().info("job_waits_again", job_id=job.id, attempts=job.attempts)

    def _end(self, job: Job, end: End) -> None:
        self._open.finish(job, end)
        self._publish_positions()

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
            self._end(job, Failed(deadline_error().details))


def _ignore(_: Job) -> None:
    """Begin nothing beside a job."""
