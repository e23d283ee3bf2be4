"""Images that are too large for one message are split into chunks."""

from __future__ import annotations

from typing import Any

from clipstyler.events import Result
from clipstyler.imaging import EncodedImage, ImageMetadata
from clipstyler_server.jobs.events import Chunk
from clipstyler_server.settings import MAX_MESSAGE_BYTES, MIB

CHUNK_BYTES = MIB
INLINE_BYTES = MAX_MESSAGE_BYTES - MIB  # a result also carries its spec, versions and models


def chunk_offsets(size: int) -> range:
    """Return where the chunks of an image of so many bytes begin; empty if its result's message has them."""
    return range(0, size if size > INLINE_BYTES else 0, CHUNK_BYTES)


def inline_data(result: Result[EncodedImage] | Result[ImageMetadata]) -> bytes:
    """Return the bytes of an image that go into the message of its result; empty if they come as chunks."""
    image: Any = result.image
    return image.data if isinstance(image, EncodedImage) and not chunk_offsets(len(image.data)) else b""


def chunks_of(data: bytes) -> list[Chunk]:
    """Split the bytes of a large image, without copying them; empty if its result's message has them."""
    view = memoryview(data)
    return [Chunk(offset, view[offset : offset + CHUNK_BYTES]) for offset in chunk_offsets(len(data))]
