"""Receives a photo in parts and checks it against its announcement."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from clipstyler.v1.stylization_service_pb2 import UploadImageRequest
from clipstyler_server.errors import Violation, invalid


async def receive(parts: AsyncIterator[UploadImageRequest], max_bytes: int) -> bytes:
    """Join the parts.

    Raises
    ------
    ServiceError
        INVALID_FIELD: there is no header, too much data, or other data than the header announced.
    """
    header = None
    photo = bytearray()
    digest = hashlib.sha256()
    async for part in parts:
        if header is None:
            header = part.header
            if not part.HasField("header"):
                raise invalid(Violation("header", "must come in the first message"))
            if not 0 < header.size_bytes <= max_bytes:
                raise invalid(Violation("header.size_bytes", f"must be 1 to {max_bytes}, got {header.size_bytes}"))
            continue
        if part.HasField("header"):
            raise invalid(Violation("header", "must come in the first message only"))
        photo += part.data
        digest.update(part.data)
        if len(photo) > header.size_bytes:
            raise invalid(Violation("data", f"exceeds the {header.size_bytes} bytes that were announced"))
    if header is None:
        raise invalid(Violation("header", "must come in the first message"))
    if len(photo) != header.size_bytes:
        raise invalid(Violation("data", f"ended after {len(photo)} of {header.size_bytes} bytes"))
    if digest.digest() != header.sha256:
        raise invalid(Violation("header.sha256", "does not match the bytes that arrived: send them again"))
    return bytes(photo)
