"""Retention: deletes expired jobs, the oldest jobs above the byte limit, expired uploads and unreferenced files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from clipstyler_server.errors import ServiceError
from clipstyler_server.observability import logs
from clipstyler_server.storage.storage import Storage

_BATCH = 100  # deleted in one write, so that other writes come in between
# A younger file may belong to a job that is being stored, by another server too.
_YOUNG_S = 60.0


@dataclass(frozen=True)
class Limits:
    """How long finished jobs are kept, and the bytes of images that all jobs may have."""

    max_age_s: float
    max_bytes: int


class Retention:
    """Keeps the storage within its limits.

    Parameters
    ----------
    storage
        Of jobs and images.
    limits
        Age and bytes.
    every_s
        Seconds between two runs.
    """

    def __init__(self, storage: Storage, limits: Limits, every_s: float) -> None:
        self._storage = storage
        self._limits = limits
        self._every_s = every_s

    async def run_retention(self) -> None:
        """Enforce the limits periodically, until cancelled."""
        while True:
            with contextlib.suppress(ServiceError):  # logged; the next run may succeed
                await self.enforce()
            await asyncio.sleep(self._every_s)

    async def enforce(self) -> None:
        """Delete everything beyond the limits.

        Raises
        ------
        ServiceError
            STORAGE_UNAVAILABLE.
        """
        jobs = files = 0
        while deleted := await self._storage.write(self._delete_jobs):
            jobs += deleted
        await self._storage.write(self._storage.database.delete_expired_uploads, time.time())
        candidates = iter(await self._storage.read(self._storage.blobs.older_than, _YOUNG_S))
        while batch := list(islice(candidates, _BATCH)):
            files += await self._storage.write(self._delete_orphans, batch)
        if jobs or files:
            logs.get_logger().info("retention_deleted", jobs=jobs, files=files)

    def _delete_jobs(self) -> int:
        """Delete a batch of jobs; returns how many."""
        excess = self._storage.database.stored_bytes() - self._limits.max_bytes
        oldest = time.time() - self._limits.max_age_s
        deleted = 0
        for record in self._storage.database.oldest_finished(_BATCH):
            if excess <= 0 and (record.ended_at or 0.0) >= oldest:
                break
            excess -= record.stored_bytes
            deleted += self._storage.delete(record)
        return deleted

    def _delete_orphans(self, digests: Sequence[str]) -> int:
        """Delete unreferenced files; checks the age again, because one may have been referred to meanwhile."""
        blobs = self._storage.blobs
        orphans = [
            digest
            for digest in digests
            if not self._storage.database.is_used(digest) and blobs.is_older_than(digest, _YOUNG_S)
        ]
        for digest in orphans:
            blobs.remove(digest)
        return len(orphans)
