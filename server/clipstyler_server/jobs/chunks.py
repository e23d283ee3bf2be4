"""Images that are too large for one message are split into chunks."""

from __future__ import annotations

from typing import Any

from clipstyler.events import Preview, Result
from clipstyler.imaging import EncodedImage, ImageMetadata
from clipstyler_server.jobs.events import Chunk, Draft, Payload
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


def chunks_of(image: ImageMetadata) -> list[Chunk]:
    """Split a stored image, without its bytes; empty if its result's message has them."""
    return [Chunk(offset, image.sha256) for offset in chunk_offsets(image.size_bytes)]


def image_bytes(payload: Payload) -> int:
    """Return how many bytes of an image are sent with an event, whether they are in memory or stored only."""
    match payload:
        case Preview(image=EncodedImage() as image) | Draft(image=image):
            return len(image.data)
        case Chunk():
            return CHUNK_BYTES
        case Result(image=ImageMetadata() as image) if not chunk_offsets(image.size_bytes):
            return image.size_bytes
    return 0
