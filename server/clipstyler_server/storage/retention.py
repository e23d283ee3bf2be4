"""Retention: deletes expired jobs, the oldest jobs above the byte limit, expired uploads and unreferenced files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import islice

from clipstyler_server.errors import ServiceError
from clipstyler_server.observability import logs
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import YOUNG_S, Storage

_BATCH = 100  # deleted in one write, so that other writes come in between


class Retention:
    """Keeps the storage within its limits.

    Parameters
    ----------
    storage
        Of jobs and images.
    room
        Has the limit of bytes.
    max_age_s
        Seconds that finished jobs are kept.
    every_s
        Seconds between two runs.
    """

    def __init__(self, storage: Storage, room: Room, max_age_s: float, every_s: float) -> None:
        self._storage = storage
        self._room = room
        self._max_age_s = max_age_s
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
        await self._storage.write(self._storage.database.delete_expired_uploads, self._storage.now())
        while deleted := await self._storage.write(self._delete_expired):
            jobs += deleted
        jobs += await self._storage.write(self._room.delete_excess)
        candidates = iter(await self._storage.read(self._storage.blobs.older_than, YOUNG_S))
        while batch := list(islice(candidates, _BATCH)):
            files += await self._storage.write(self._delete_orphans, batch)
        if jobs or files:
            logs.get_logger().info("retention_deleted", jobs=jobs, files=files)

    def _delete_expired(self) -> int:
        """Delete a batch of jobs; returns how many."""
        expired = self._storage.database.expired(_BATCH, self._storage.now() - self._max_age_s)
        return sum(self._storage.delete(record) for record in expired)

    def _delete_orphans(self, digests: Sequence[str]) -> int:
        """Delete unreferenced files; checks the age again, because one may have been referred to meanwhile."""
        return sum(self._storage.delete_file(digest, YOUNG_S) for digest in digests)
