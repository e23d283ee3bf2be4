"""Deletes what need not be kept any longer: old jobs, the oldest beyond the bytes, uploads, files nobody refers to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from clipstyler_server import logs
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.storage import Storage

_BATCH = 100  # at once, so that other writes come in between
# A file this young may belong to a job that is just being stored, by another server too.
_YOUNG_S = 60.0


@dataclass(frozen=True)
class Limits:
    """How long finished jobs are kept, and how many bytes of images all jobs may have."""

    max_age_s: float
    max_bytes: int


class Retention:
    """Keeps the storage within its limits.

    Parameters
    ----------
    storage
        What lasts.
    limits
        Of what is kept.
    every_s
        Seconds between two rounds.
    """

    def __init__(self, storage: Storage, limits: Limits, every_s: float) -> None:
        self._storage = storage
        self._limits = limits
        self._every_s = every_s

    async def keep_tidy(self) -> None:
        """Tidy up now and again, until cancelled."""
        while True:
            with contextlib.suppress(ServiceError):  # logged; the next round may do better
                await self.tidy()
            await asyncio.sleep(self._every_s)

    async def tidy(self) -> None:
        """Delete what need not be kept any longer.

        Raises
        ------
        ServiceError
            The storage does not work just now.
        """
        jobs = files = 0
        while deleted := await self._storage.run(self._delete_jobs):
            jobs += deleted
        await self._storage.run(self._storage.store.forget_uploads, time.time())
        candidates = iter(await self._storage.look(self._storage.images.older_than, _YOUNG_S))
        while batch := list(islice(candidates, _BATCH)):
            files += await self._storage.run(self._delete_orphans, batch)
        if jobs or files:
            logs.get_logger().info("storage_tidied", jobs=jobs, files=files)

    def _delete_jobs(self) -> int:
        """Delete a batch of jobs; returns how many."""
        excess = self._storage.store.stored_bytes() - self._limits.max_bytes
        oldest = time.time() - self._limits.max_age_s
        deleted = 0
        for record in self._storage.store.oldest_finished(_BATCH):
            if excess <= 0 and (record.ended_at or 0.0) >= oldest:
                break
            excess -= record.stored_bytes
            deleted += self._storage.delete(record)
        return deleted

    def _delete_orphans(self, digests: Sequence[str]) -> int:
        """Delete those that nobody refers to; looks at the age again, as one may have been named meanwhile."""
        images = self._storage.images
        orphans = [
            digest
            for digest in digests
            if not self._storage.store.is_used(digest) and images.is_older_than(digest, _YOUNG_S)
        ]
        for digest in orphans:
            images.remove(digest)
        return len(orphans)
