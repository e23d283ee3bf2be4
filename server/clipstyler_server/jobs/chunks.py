"""Images that are too large for one message are split into chunks."""

from __future__ import annotations

from clipstyler_server.jobs.events import Chunk
from clipstyler_server.settings import MAX_MESSAGE_BYTES, MIB

CHUNK_BYTES = MIB
INLINE_BYTES = MAX_MESSAGE_BYTES - MIB  # a result also carries its spec, versions and models


def needs_chunks(data: bytes) -> bool:
    """Return whether the bytes of an image are too many for the message of its result."""
    return len(data) > INLINE_BYTES


def chunks_of(data: bytes) -> list[Chunk]:
    """Split the bytes of an image, without copying them."""
    view = memoryview(data)
    return [Chunk(offset, view[offset : offset + CHUNK_BYTES]) for offset in range(0, len(data), CHUNK_BYTES)]
