"""Uploaded photos, kept for a while until a job uses them."""

from __future__ import annotations

import time

from clipstyler_server.storage.storage import Storage


class UploadStore:
    """Keeps uploaded photos.

    Parameters
    ----------
    storage
        Of the bytes.
    kept_s
        Seconds that a photo is kept if no job uses it.
    """

    def __init__(self, storage: Storage, kept_s: float) -> None:
        self._storage = storage
        self._kept_s = kept_s

    async def keep(self, photo: bytes) -> tuple[str, float]:
        """Keep a photo; returns its digest, and until when in seconds since 1970.

        Raises
        ------
        ServiceError
            STORAGE_FULL or STORAGE_UNAVAILABLE.
        """
        expires_at = time.time() + self._kept_s
        return await self._storage.write(self._storage.keep_upload, photo, expires_at), expires_at
