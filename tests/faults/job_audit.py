"""Compares what a server promised with what it stored."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import grpc

from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2 import CreateStylizationRequest
from tests.service.databases import rows
from tests.service.harness import Caller, eventually
from tests.service.process import ServerProcess

OVER = {Stylization.STATE_SUCCEEDED, Stylization.STATE_FAILED, Stylization.STATE_CANCELLED}
_PATIENCE_S = 120.0
_OLD_S = 600.0


class JobAudit:
    """Accepted jobs and published ends; neither may ever be revoked.

    Parameters
    ----------
    data_dir
        Of the server, or the directory that several servers share.
    database_url
        Of PostgreSQL; empty for SQLite in the directory.
    """

    def __init__(self, data_dir: str, database_url: str = "") -> None:
        self.data_dir = Path(data_dir)
        self._url = database_url
        self.accepted: dict[str, str] = {}
        self._ends: dict[str, Stylization] = {}
        self._images: dict[str, str] = {}

    async def create(self, server: Caller, asked: CreateStylizationRequest) -> str | None:
        """Create a job; None if the server dies under the call. Asking again with the same request is safe."""
        try:
            name = (await server.create(asked)).name
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return None
        assert self.accepted.setdefault(asked.request_id, name) == name
        return name

    async def note_ends(self, server: Caller) -> list[Stylization]:
        """Look at all jobs: none is missing, none is there twice, no end has changed. Returns them."""
        jobs = await self._all(server)
        assert (self._lost(jobs), self._twice()) == (set(), set())
        for job in jobs:
            if job.state in OVER:
                assert self._ends.setdefault(job.name, job) == job
            else:
                assert job.name not in self._ends
            if job.state == Stylization.STATE_SUCCEEDED:
                digest = hashlib.sha256((await server.image(job.name))[1]).hexdigest()
                assert self._images.setdefault(job.name, digest) == digest == job.result.image.sha256.hex()
        return jobs

    async def all_over(self, server: Caller) -> Counter[str]:
        """Wait until every job is over; returns how many ended how."""
        async with asyncio.timeout(_PATIENCE_S):
            jobs = await self.note_ends(server)
            while not all(job.state in OVER for job in jobs):
                await asyncio.sleep(0.1)
                jobs = await self.note_ends(server)
        return Counter(Stylization.State.Name(job.state).removeprefix("STATE_").lower() for job in jobs)

    async def no_orphans(self) -> int:
        """Wait until no file is there that no job refers to, and see that none is missing; returns how many there are.

        Files are made old first: young ones may belong to a job that is just being stored.
        """
        for path in self._files():
            os.utime(path, (path.stat().st_mtime - _OLD_S,) * 2)
        await eventually(lambda: {path.name for path in self._files()} == self._referred())
        return len(self._files())

    async def holds(self, server: ServerProcess) -> dict[str, object]:
        """Check everything, at the end."""
        ends = await self.all_over(server)
        jobs = await self._all(server)
        kept = {"lost": len(self._lost(jobs)), "twice": len(self._twice()), "files": await self.no_orphans()}
        return {"jobs": len(self.accepted), **ends, **kept}

    def _lost(self, jobs: Sequence[Stylization]) -> set[str]:
        """Names of jobs that were accepted and are not there."""
        return set(self.accepted.values()) - {job.name for job in jobs}

    def _twice(self) -> set[str]:
        """Request ids that have more than one job; one-shot calls have none."""
        found = self._rows("SELECT request_id FROM stylizations WHERE request_id IS NOT NULL")
        return {request_id for (request_id,), count in Counter(found).items() if count > 1}

    async def _all(self, server: Caller) -> list[Stylization]:
        jobs: list[Stylization] = []
        token = ""
        while True:
            page = await server.page(page_size=100, page_token=token)
            jobs.extend(page.stylizations)
            token = page.next_page_token
            if not token:
                return jobs

    def _files(self) -> list[Path]:
        return [path for path in (self.data_dir / "images").glob("*/*") if path.is_file()]

    def _referred(self) -> set[str]:
        found = self._rows("SELECT content, result, style, other_photos FROM stylizations")
        found += self._rows("SELECT digest FROM styles")
        return {digest for row in found for digests in row if digests for digest in digests.split()}

    def _rows(self, query: str) -> list[tuple]:
        if self._url:
            return rows(self._url, query)
        with sqlite3.connect(self.data_dir / "jobs.sqlite3") as database:
            return database.execute(query).fetchall()
