"""A server among those that share its database: its lease, what it hears of others, and what they leave behind."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.endings import ending_of, verdict
from clipstyler_server.jobs.events import CancelReason
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import Broadcast, ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.settings import Settings
from clipstyler_server.storage.leases import Front, Leases
from clipstyler_server.storage.records import Record
from clipstyler_server.storage.shared_queue import Ending, SharedQueue, Ticket
from clipstyler_server.storage.storage import Storage, problem_of, unavailable_error

# A lease is renewed so many times before it ends, and given up when so much of it has passed.
_RENEWALS = 4
_GIVE_UP = 0.75
_POLL_S = 1.0
_PAUSE_S = 0.02  # between two looks at the queue, however much happens
_RETRY_S = 0.5
_Value = TypeVar("_Value")


class Fronts:
    """Keeps the lease of this server, and follows the queue that it shares.

    Parameters
    ----------
    settings
        Has the duration of a lease.
    storage, queue
        Of jobs, and what waits.
    scheduler
        Runs the jobs of this server.
    metrics
        Counts what was taken over, and lost leases.

    Attributes
    ----------
    front
        This server as others see it; None while it has no lease.
    backlog
        What waits, in order, as last seen.
    running, devices
        Jobs that run, and how many could, on all servers, as last seen.
    changed
        Wakes whoever waits for something to change.
    """

    def __init__(
        self, settings: Settings, storage: Storage, queue: SharedQueue, scheduler: Scheduler, metrics: Metrics
    ) -> None:
        self.front: Front | None = None
        self.backlog: JobQueue[Ticket] = JobQueue(settings.queue_capacity, settings.caller_share)
        self.running, self.devices = 0, 1
        self.changed = Broadcast()
        self._lease_s = settings.lease_s
        self._own_devices = len(settings.optimizer_devices) * settings.runs_per_device
        self._requeue = settings.on_restart == "requeue"
        self._storage = storage
        self._queue = queue
        self._leases = Leases(storage.database, settings.lease_s)
        self._scheduler = scheduler
        self._metrics = metrics
        self._address = ""
        self._alive: dict[str, Front] = {}
        self._positions: dict[str, int] = {}
        self._touched = ChangeSignal()
        self._end: asyncio.TimerHandle | None = None
        # Leases wait for nothing that the storage does, nor for what is taken over: that waits for the queue.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="lease")

    @property
    def problems(self) -> list[str]:
        """Why this server takes no jobs of the shared queue; empty if it does."""
        return [] if self.front else ["the server has no lease in the database"]

    def holds(self, lease: str) -> bool:
        """Return whether a lease is the present one of this server."""
        return self.front is not None and self.front.id == lease

    async def join(self, address: str) -> None:
        """Take a lease, under which others reach this server at an address.

        Raises
        ------
        ServiceError
            STORAGE_UNAVAILABLE.
        """
        self._address = address
        try:
            await self._register()
        except SQLAlchemyError as error:
            raise unavailable_error() from error
        await self.look()

    async def leave(self) -> None:
        """Return what this server still has to the queue, and end its lease."""
        if front := self._forget_lease():
            try:
                await self._storage.write(self._queue.release, front.id)
                await self._storage.write(self._leases.leave, front.id)
            except ServiceError:
                pass  # logged; the lease ends by itself
        self._threads.shutdown(wait=False)

    async def keep_lease(self) -> None:
        """Renew the lease, or take another one, until cancelled."""
        await self._repeat(
            self._renew_or_register, lambda problem: logs.get_logger().warning("lease_not_renewed", problem=problem)
        )

    async def take_over(self) -> None:
        """Take over what others left behind, until cancelled."""
        await self._repeat(
            self._take_over, lambda problem: logs.get_logger().warning("jobs_not_taken_over", problem=problem)
        )

    async def follow(self) -> None:
        """Look at the shared queue whenever it may have changed, until cancelled."""
        while True:
            await self._touched.wait(_POLL_S)
            try:
                await self.look()
            except ServiceError:
                await asyncio.sleep(_RETRY_S)  # logged
            self.changed.notify()
            await asyncio.sleep(_PAUSE_S)

    def notify(self) -> None:
        """Look at the shared queue soon."""
        self._touched.notify()
        self._scheduler.freed.notify()

    async def look(self) -> None:
        """Read what waits, and which jobs of this server are to be cancelled."""
        seen = await self._storage.read(self._queue.backlog)
        self.backlog.show(seen.turns, seen.order)
        self.running, self.devices = seen.running, seen.devices
        self._positions = {ticket.id: place for place, ticket in enumerate(seen.order, start=seen.running)}
        if self.front and self._scheduler.jobs:
            for job_id, reason in (await self._storage.read(self._queue.cancelled, self.front.id)).items():
                job = self._scheduler.jobs.get(job_id)
                if job and job.cancel_reason is None:
                    self._scheduler.cancel(job, CancelReason(reason))

    def position(self, job_id: str) -> int | None:
        """Return how many jobs run or wait before a waiting one, as last seen; None if it was not seen waiting."""
        return self._positions.get(job_id)

    async def find(self, front_id: str) -> Front | None:
        """Find a server that is alive by its lease."""
        if front_id not in self._alive:
            self._see(await self._storage.read(self._leases.alive))
        return self._alive.get(front_id)

    async def _repeat(self, work: Callable[[], Awaitable[None]], report: Callable[[str], None]) -> None:
        """Do something as often as a lease is renewed; what prevents it is logged, and it is tried again soon."""
        while True:
            try:
                await work()
                await asyncio.sleep(self._lease_s / _RENEWALS)
            except (OSError, SQLAlchemyError) as error:
                report(problem_of(error)[:500])
                await asyncio.sleep(min(_RETRY_S, self._lease_s / _RENEWALS))

    async def _renew_or_register(self) -> None:
        if self.front:
            await self._renew(self.front)
        if self.front is None:
            await self._register()

    async def _register(self) -> None:
        front = Front(str(uuid.uuid4()), self._storage.owner, self._address, token_hex(16), self._own_devices)
        begun = time.monotonic()
        self._set_clock(await self._ask(self._leases.register, front))
        self.front = front
        self._extend(begun)
        logs.get_logger().info("lease_taken", lease=front.id, lease_s=self._lease_s)

    async def _renew(self, front: Front) -> None:
        begun = time.monotonic()
        now = await self._ask(self._leases.renew, front.id)
        if now is None:
            self._lapse()
            return
        self._set_clock(now)
        if self.front is front:  # else it was given up meanwhile
            self._extend(begun)

    async def _take_over(self) -> None:
        front = self.front
        if front is None:
            return
        steps = {job.id: job.step for job in self._scheduler.jobs.values() if job.lease == front.id}
        await self._ask(self._queue.note_steps, steps, front.id)
        for record in await self._ask(self._queue.take_over, self._verdict):
            self._metrics.job_taken_over()
            logs.get_logger().warning(
                "job_taken_over", job_id=record.id, state=record.state, lease=record.lease_owner, crashes=record.crashes
            )
        self._see(await self._ask(self._leases.alive))

    def _see(self, alive: list[Front]) -> None:
        self._alive = {front.id: front for front in alive}
        self._metrics.fronts_seen(len(alive))

    def _verdict(self, record: Record, now: float, is_homeless: bool) -> Ending | None:
        end = verdict(record, now, is_homeless, self._requeue)
        return ending_of(end) if end else None

    def _extend(self, begun: float) -> None:
        """Count on a lease that was asked for at a time."""
        if self._end:
            self._end.cancel()
        loop, left_s = asyncio.get_running_loop(), begun + _GIVE_UP * self._lease_s - time.monotonic()
        self._end = loop.call_later(left_s, self._lapse)

    def _lapse(self) -> None:
        """Give the lease up, and all jobs with it, before others may run them."""
        if front := self._forget_lease():
            self._metrics.lease_lost()
            logs.get_logger().error("lease_lost", lease=front.id, jobs=sorted(self._scheduler.jobs))
            self._scheduler.let_go()

    def _forget_lease(self) -> Front | None:
        front, self.front = self.front, None
        if self._end:
            self._end.cancel()
        return front

    def _set_clock(self, now: float) -> None:
        """Let the storage's time be the database's."""
        seen = time.monotonic()
        self._storage.now = lambda: now + time.monotonic() - seen

    async def _ask(self, work: Callable[..., _Value], *arguments: object) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
