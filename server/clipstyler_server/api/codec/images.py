"""Images: metadata and bytes are two things."""

from __future__ import annotations

from collections.abc import AsyncIterator

from clipstyler.imaging import ImageMetadata
from clipstyler.v1 import image_pb2
from clipstyler.v1.names import number_of
from clipstyler.v1.stylization_service_pb2 import GetStylizationImageResponse
from clipstyler_server.jobs.catalog import JobImage


def metadata_message(metadata: ImageMetadata) -> image_pb2.ImageMetadata:
    """Translate what describes an image."""
    number = number_of(image_pb2.ImageFormat.DESCRIPTOR, metadata.format) if metadata.format else 0
    return image_pb2.ImageMetadata(
        format=number,  # type: ignore[arg-type]
        width_px=metadata.width,
        height_px=metadata.height,
        size_bytes=metadata.size_bytes,
        sha256=bytes.fromhex(metadata.sha256),
    )


async def image_messages(image: JobImage) -> AsyncIterator[GetStylizationImageResponse]:
    """Translate an image: its metadata, then its bytes."""
    yield GetStylizationImageResponse(metadata=metadata_message(image.metadata))
    async for part in image.parts:
        yield GetStylizationImageResponse(data=part)
