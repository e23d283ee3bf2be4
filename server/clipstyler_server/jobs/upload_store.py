"""Uploaded photos: written to the disk as they arrive, and kept for a while until a job uses them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from clipstyler_server.sharing import Caller
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import Storage


class Upload:
    """A photo that is arriving.

    Attributes
    ----------
    size
        Bytes that have arrived.
    """

    def __init__(self, storage: Storage, part: Path) -> None:
        self._storage = storage
        self._part = part
        self._digest = hashlib.sha256()
        self.size = 0

    async def add(self, data: bytes) -> None:
        """Write the next bytes to the disk.

        Raises
        ------
        ServiceError
            STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        self.size += len(data)
        await asyncio.shield(self._storage.write(self._add, data))

    def digest(self) -> bytes:
        """Return the SHA-256 of what has arrived."""
        return self._digest.digest()

    async def keep(self, caller: Caller, kept_s: float) -> tuple[str, float]:
        """Keep the photo for a caller; returns its digest in hexadecimal, and until when in seconds since 1970."""
        digest, now = self._digest.hexdigest(), self._storage.now()
        await self._storage.write(self._keep, digest, caller, now, now + kept_s)
        return digest, now + kept_s

    async def drop(self) -> None:
        """Forget the photo, unless it is kept."""
        await self._storage.write(self._drop)

    def _add(self, data: bytes) -> None:
        self._storage.blobs.append(self._part, data)
        self._digest.update(data)

    def _keep(self, digest: str, caller: Caller, now: float, expires_at: float) -> None:
        with self._storage.database.holding(digest):
            if not self._storage.blobs.touch(digest):
                self._storage.blobs.finish(self._part, digest)
            self._storage.database.keep_upload(
                caller.tenant, digest, caller.account, self.size, now=now, expires_at=expires_at
            )

    def _drop(self) -> None:
        self._part.unlink(missing_ok=True)


class UploadStore:
    """Keeps uploaded photos.

    Parameters
    ----------
    storage
        Of the bytes.
    room
        For photos that arrive.
    kept_s
        Seconds that a photo is kept if no job uses it.
    """

    def __init__(self, storage: Storage, room: Room, kept_s: float) -> None:
        self._storage = storage
        self._room = room
        self.kept_s = kept_s

    @asynccontextmanager
    async def begin(self, caller: Caller, size: int) -> AsyncIterator[Upload]:
        """Begin an upload of an announced size; what is not kept in the end is dropped.

        Raises
        ------
        ServiceError
            STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        async with self._room.hold(caller, size):
            upload = Upload(self._storage, await self._storage.write(self._storage.blobs.begin))
            try:
                yield upload
            finally:
                await asyncio.shield(upload.drop())
