"""The photo of a request, wherever it is: in the request, or stored here already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipstyler_server.errors import ServiceError, Violation
from clipstyler_server.jobs.job_errors import invalid_spec
from clipstyler_server.storage.storage import Storage


@dataclass(frozen=True)
class Photo:
    """A photo.

    Attributes
    ----------
    source
        Its bytes, or its file if it is stored.
    size
        In bytes.
    digest
        SHA-256 in hexadecimal of a stored one; empty if it came with the request.
    """

    source: bytes | Path
    size: int
    digest: str = ""

    def store(self, storage: Storage) -> str:
        """Store it unless it is, inside of `Storage.write`; returns its digest.

        Raises
        ------
        ServiceError
            It was stored and is gone.
        """
        if isinstance(self.source, bytes):
            return storage.blobs.put(self.source)
        if not storage.blobs.touch(self.digest):
            raise gone("upload")
        return self.digest


async def stored_photo(storage: Storage, digest: str, field: str) -> Photo:
    """Find a stored photo.

    Raises
    ------
    ServiceError
        INVALID_FIELD naming the field: it is not stored here. STORAGE_UNAVAILABLE.
    """
    found = await storage.read(storage.blobs.find, digest)
    if found is None:
        raise gone(field)
    path, size = found
    return Photo(path, size, digest)


def gone(field: str) -> ServiceError:
    """Make the error of a photo that is not stored here."""
    return invalid_spec(Violation(field, "is not stored here, or no longer: upload it again"))
