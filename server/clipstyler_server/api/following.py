"""Follows a job to its end: on this server, or wherever it waits and runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Protocol

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.event_pb2 import StylizationEvent
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler_server.api.codec.values import read_stylization_name
from clipstyler_server.api.peers import Peers
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.catalog import Catalog
from clipstyler_server.jobs.events import FINAL, Heartbeat, JobEvent, Queued
from clipstyler_server.jobs.fronts import Fronts
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import draining_error
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.shared_catalog import SharedCatalog
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.leases import Front
from clipstyler_server.storage.records import Record, State

Followed = JobEvent | StylizationEvent
"""An event of this server, or one of another server as it arrived."""
_POLL_S = 1.0
_PAUSE_S = 0.05
# Stored with the job: read here, whoever ran it.
_STORED = {"chunk", "result", "failed", "cancelled"}


class Follower(Protocol):
    """Streams the events of jobs."""

    def of(self, job: Job) -> AsyncGenerator[Followed, None]:
        """Stream the events of a job that was just admitted.

        Raises
        ------
        ServiceError
            The stream ends before the job, because the server stops.
        """
        ...

    def events(self, job_id: str, caller: Caller, after: int) -> AsyncGenerator[Followed, None]:
        """Stream the events of a job after a sequence number, in the same way.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND.
        """
        ...

    async def image(
        self, request: pb.GetStylizationImageRequest, caller: Caller
    ) -> AsyncIterator[pb.GetStylizationImageResponse] | None:
        """Return the messages of an image that another server has; None if this one would have it."""
        ...

    async def close(self, left_s: Callable[[], float]) -> None:
        """Let one-shot calls go on while there are seconds left, then end all streams of other servers."""
        ...


class LocalFollower:
    """Follows jobs of this server.

    Parameters
    ----------
    catalog, scheduler
        Have all jobs, and the unfinished ones.
    heartbeat_s
        Seconds of silence before a heartbeat.
    """

    def __init__(self, catalog: Catalog, scheduler: Scheduler, heartbeat_s: float) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._heartbeat_s = heartbeat_s

    async def of(self, job: Job) -> AsyncGenerator[Followed, None]:
        """Stream the events of a job that was just admitted."""
        async with aclosing(_live(job, self._heartbeat_s, 0)) as events:
            async for event in events:
                yield event

    async def events(self, job_id: str, caller: Caller, after: int) -> AsyncGenerator[Followed, None]:
        """Stream the events of a job after a sequence number."""
        scope = caller.scope
        while (job := self._catalog.live(job_id, scope)) is None:
            if ending := await self._catalog.ending(job_id, scope, after):
                for event in ending:
                    yield event
                return
            if self._scheduler.draining:
                raise draining_error()
            # Stored as waiting and not resumed yet: the server has just started.
            yield await self._catalog.nap(after)
        async with aclosing(_live(job, self._heartbeat_s, after)) as events:
            async for event in events:
                yield event

    async def image(self, request: pb.GetStylizationImageRequest, caller: Caller) -> None:
        """Return None: no other server has anything."""

    async def close(self, left_s: Callable[[], float]) -> None:
        """Do nothing: the scheduler has drained."""


class SharedFollower:
    """Follows jobs of all servers of a database.

    Parameters
    ----------
    catalog, scheduler, fronts
        All jobs, those that run here, and the other servers.
    peers
        To the other servers.
    heartbeat_s
        Seconds of silence before a heartbeat.
    """

    def __init__(
        self, catalog: SharedCatalog, scheduler: Scheduler, fronts: Fronts, peers: Peers, heartbeat_s: float
    ) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._fronts = fronts
        self._peers = peers
        self._heartbeat_s = heartbeat_s
        self._one_shots = 0

    async def of(self, job: Job) -> AsyncGenerator[Followed, None]:
        """Stream the events of a job that was just admitted."""
        self._one_shots += 1
        try:
            async with aclosing(self._everywhere(job.id, None, 0)) as events:
                async for event in events:
                    yield event
        finally:
            self._one_shots -= 1

    async def events(self, job_id: str, caller: Caller, after: int) -> AsyncGenerator[Followed, None]:
        """Stream the events of a job after a sequence number, on whichever servers it waits and runs."""
        follow = self._only_here if caller.is_peer else self._everywhere
        async with aclosing(follow(job_id, caller.scope, after)) as events:
            async for event in events:
                yield event

    async def _everywhere(self, job_id: str, scope: str | None, after: int) -> AsyncGenerator[Followed, None]:
        passed, position, heard = after, -1, time.monotonic()
        while True:
            change = self._fronts.changed.upcoming()
            async with aclosing(self._now(job_id, scope, passed, position)) as events:
                async for event in events:
                    passed, heard, position = event.sequence, time.monotonic(), _position(event)
                    yield event
                    if isinstance(event, JobEvent) and isinstance(event.payload, FINAL):
                        return
            await _wait(change)
            if time.monotonic() - heard >= self._heartbeat_s:
                heard = time.monotonic()
                yield JobEvent(passed, datetime.now(UTC), Heartbeat())

    async def _now(self, job_id: str, scope: str | None, passed: int, position: int) -> AsyncGenerator[Followed, None]:
        """Stream what there is to say of a job until it goes elsewhere, or something else changes."""
        if job := self._catalog.live(job_id, scope):
            async with aclosing(self._here(job, passed)) as events:
                async for event in events:
                    yield event
            return
        record = await self._catalog.record(job_id, scope)
        if ending := self._catalog.ending_of(record, passed):
            for event in ending:
                yield event
        elif front := await self._elsewhere(record):
            async with aclosing(self._there(front, job_id, passed)) as messages:
                async for message in messages:
                    yield message
        elif self._scheduler.draining:
            raise draining_error()
        elif (queued := self._catalog.waiting(record)) and queued.position != position:
            yield JobEvent(passed + 1, datetime.now(UTC), queued)

    async def _only_here(self, job_id: str, scope: str | None, after: int) -> AsyncGenerator[Followed, None]:
        """Stream the events of a job for another server, as long as this one has it."""
        while True:
            change = self._fronts.changed.upcoming()
            if job := self._catalog.live(job_id, scope):
                async with aclosing(self._here(job, after)) as events:
                    async for event in events:
                        yield event
                return
            record = await self._catalog.record(job_id, scope)
            if record.state is not State.RUNNING or not self._fronts.holds(record.lease_owner or ""):
                return
            await _wait(change)

    async def image(
        self, request: pb.GetStylizationImageRequest, caller: Caller
    ) -> AsyncIterator[pb.GetStylizationImageResponse] | None:
        """Return the messages of a preview that another server has."""
        if caller.is_peer or request.kind != Stylization.IMAGE_KIND_PREVIEW:
            return None
        record = await self._catalog.record(read_stylization_name(request.name), caller.scope)
        front = await self._elsewhere(record)
        return self._peers.image(front, request) if front else None

    async def close(self, left_s: Callable[[], float]) -> None:
        """Let one-shot calls go on while there are seconds left, then end all streams of other servers."""
        while self._one_shots and left_s() > 0:
            await asyncio.sleep(_PAUSE_S)
        await self._peers.close()

    async def _here(self, job: Job, passed: int) -> AsyncGenerator[JobEvent, None]:
        """Stream the events of a job of this server, until it ends or goes elsewhere."""
        try:
            async with aclosing(_live(job, self._heartbeat_s, passed)) as events:
                async for event in events:
                    yield event
        except ServiceError:
            if self._scheduler.draining:
                raise

    async def _there(self, front: Front, job_id: str, passed: int) -> AsyncGenerator[StylizationEvent, None]:
        """Stream what another server publishes, up to what is stored."""
        async with aclosing(self._peers.watch(front, job_id, passed)) as responses:
            async for response in responses:
                if response.event.WhichOneof("event") in _STORED:
                    return
                yield response.event
        if self._peers.closed:
            raise draining_error()

    async def _elsewhere(self, record: Record) -> Front | None:
        """Return the server that runs a job, unless it is this one."""
        lease = record.lease_owner
        if record.state is not State.RUNNING or lease is None or self._fronts.holds(lease):
            return None
        return await self._fronts.find(lease)


def _position(event: Followed) -> int:
    """Return the position that an event reports; -1 if it reports none."""
    return event.payload.position if isinstance(event, JobEvent) and isinstance(event.payload, Queued) else -1


async def _live(job: Job, heartbeat_s: float, after: int) -> AsyncGenerator[JobEvent, None]:
    """Stream the events of an unfinished job of this server."""
    subscription = job.subscribe(heartbeat_s, after)
    try:
        async for event in subscription.events():
            yield event
    finally:
        job.unsubscribe(subscription)


async def _wait(change: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(change.wait(), _POLL_S)
    except TimeoutError:
        return
