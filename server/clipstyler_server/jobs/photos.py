"""The images of a request, wherever they are: in the request, or stored here already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clipstyler_server.errors import ServiceError, Violation, invalid
from clipstyler_server.storage.storage import Storage


@dataclass(frozen=True)
class Photo:
    """A photo, or the mask of a region.

    Attributes
    ----------
    source
        Its bytes, or its file if it is stored.
    size
        In bytes.
    digest
        SHA-256 in hexadecimal of a stored one; empty if it came with the request.
    field
        Path of the field that named a stored one.
    """

    source: bytes | Path
    size: int
    digest: str = ""
    field: str = ""

    def name(self) -> str:
        """Return its digest; computing it takes a moment."""
        return hashlib.sha256(self.source).hexdigest() if isinstance(self.source, bytes) else self.digest

    def store(self, storage: Storage, digest: str) -> None:
        """Store it under its digest unless it is, inside of `Storage.write`.

        Raises
        ------
        ServiceError
            It was stored and is gone.
        """
        if isinstance(self.source, bytes):
            storage.blobs.put(self.source, digest)
        elif not storage.blobs.touch(digest):
            raise gone(self.field)


async def stored_photo(storage: Storage, digest: str, field: str, scope: str | None = None) -> Photo:
    """Find a stored photo.

    Parameters
    ----------
    storage, digest
        Where, and the SHA-256 of what.
    field
        Path of the field that names it.
    scope
        The tenant that must have it, as an upload or in a job; None for any.

    Raises
    ------
    ServiceError
        INVALID_FIELD naming the field: it is not stored here. STORAGE_UNAVAILABLE.
    """
    if scope is not None and not await storage.read(storage.database.has_image, scope, digest):
        raise gone(field)
    found = await storage.read(storage.blobs.find, digest)
    if found is None:
        raise gone(field)
    path, size = found
    return Photo(path, size, digest, field)


def gone(field: str) -> ServiceError:
    """Make the error of an image that is not stored here."""
    return invalid(Violation(field, "is not stored here, or no longer: upload it again"))
