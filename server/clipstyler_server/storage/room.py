"""Room for what callers store: one bound in all and one per caller, made by deleting what was unused longest."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from clipstyler_server.errors import Reason, ServiceError, error
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import Unused
from clipstyler_server.storage.storage import Storage

_BATCH = 100
_SPARE_BYTES = 16 * 2**20  # of the disk: for results of what is accepted, and for the database
_RETRY_S = 60.0


class Room:
    """Makes room before something is stored; on a disk that is nearly full there is none.

    Parameters
    ----------
    storage
        Of jobs, images and uploads.
    max_bytes
        Bytes of all of them together.
    share
        Largest fraction of these bytes that one caller may have.
    """

    def __init__(self, storage: Storage, max_bytes: int, share: float) -> None:
        self._storage = storage
        self.max_bytes = max_bytes
        self.max_bytes_per_caller = int(share * max_bytes)
        self._promised: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, caller: Caller, size: int, using: Collection[str] = ()) -> AsyncIterator[None]:
        """Keep room for so many bytes of a caller while they arrive and are stored.

        Nothing is deleted for what does not fit all the same.

        Parameters
        ----------
        caller, size
            Who stores how many bytes.
        using
            Digests of stored files that the request refers to: they stay.

        Raises
        ------
        ServiceError
            STORAGE_FULL, also if the caller has too much that is in use; STORAGE_UNAVAILABLE.
        """
        account = caller.account
        self._promised[account] += size
        try:
            await self._storage.write(self._make, account, self.max_bytes_of(caller), using)
            yield
        finally:
            self._promised[account] -= size
            if not self._promised[account]:
                del self._promised[account]

    def max_bytes_of(self, caller: Caller) -> int:
        """Return the bytes that a caller may store: its tenant's, else the share of every caller."""
        own = caller.limits.max_stored_bytes
        return self.max_bytes_per_caller if own is None else min(own, self.max_bytes)

    def delete_excess(self) -> int:
        """Delete unused jobs and uploads beyond the bytes in all, inside of `write`; returns how many."""
        return self._free(self._excess, None)

    def _make(self, account: str, limit: int, using: Collection[str]) -> None:
        database = self._storage.database

        def excess_of_caller() -> int:
            return database.stored_bytes(account) + self._promised[account] - limit

        own, all_ = excess_of_caller(), self._excess()
        if own > 0 and own > database.unused_bytes(account, using):
            raise _full("you store", limit)
        if all_ > 0 and all_ > database.unused_bytes(None, using):
            raise _full("the server stores", self.max_bytes)
        self._free(excess_of_caller, account, using)
        self._free(self._excess, None, using)
        if self._storage.blobs.free_bytes() < self._promised.total() + _SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as if it had been tried: counted and reported

    def _excess(self) -> int:
        return self._storage.database.stored_bytes() + self._promised.total() - self.max_bytes

    def _free(self, excess: Callable[[], int], account: str | None, using: Collection[str] = ()) -> int:
        """Delete what was unused longest, of one caller or of all, until nothing is in excess.

        Other servers may delete too: what they delete of a batch counts, because it is looked up before the excess.
        """
        deleted = 0
        while excess() > 0:
            batch: list[Unused] = self._storage.database.unused(_BATCH, account, using)
            left = excess()
            if not batch or left <= 0:
                break
            for entry in batch:
                if left <= 0:
                    break
                self._storage.delete_unused(entry)
                left -= entry.size_bytes
                deleted += 1
        return deleted


def _full(whose: str, limit: int) -> ServiceError:
    return error(
        Reason.STORAGE_FULL,
        f"what {whose} would exceed {{limit}} bytes, and what is finished of it makes no room: try again later",
        retry_delay_s=_RETRY_S,
        limit=limit,
    )
