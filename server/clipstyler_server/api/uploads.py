"""Receives a photo in parts and checks it against its announcement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from clipstyler.v1.stylization_service_pb2 import UploadImageRequest
from clipstyler_server.errors import Reason, Violation, error, invalid
from clipstyler_server.jobs.upload_store import Upload, UploadStore
from clipstyler_server.settings import MAX_MESSAGE_BYTES
from clipstyler_server.sharing import Caller

_SHA256_BYTES = 32


async def receive(
    parts: AsyncIterator[UploadImageRequest], uploads: UploadStore, caller: Caller, max_bytes: int, timeout_s: float
) -> tuple[str, float]:
    """Store a caller's photo part by part; returns its digest, and until when it is kept.

    Raises
    ------
    ServiceError
        INVALID_FIELD: there is no header, too much data, or other data than the header announced; REQUEST_TIMEOUT,
        STORAGE_FULL or STORAGE_UNAVAILABLE.
    """
    try:
        async with asyncio.timeout(timeout_s):
            header = _header(await anext(parts, None), max_bytes)
            async with uploads.begin(caller, header.size_bytes) as upload:
                async for part in parts:
                    data = _data(part, header.size_bytes - upload.size, header.size_bytes)
                    del part  # each access of its data makes a copy
                    await upload.add(data)
                    del data
                _check(upload, header)
                return await upload.keep(caller, uploads.kept_s)
    except TimeoutError:
        raise error(
            Reason.REQUEST_TIMEOUT, "the upload took longer than {limit_s} s: send it again", limit_s=timeout_s
        ) from None


def _header(first: UploadImageRequest | None, max_bytes: int) -> UploadImageRequest.Header:
    if first is None or not first.HasField("header"):
        raise invalid(Violation("header", "must come in the first message"))
    violations = []
    if not 0 < first.header.size_bytes <= max_bytes:
        violations.append(Violation("header.size_bytes", f"must be 1 to {max_bytes}, got {first.header.size_bytes}"))
    if len(first.header.sha256) != _SHA256_BYTES:
        violations.append(Violation("header.sha256", f"must have 32 bytes, got {len(first.header.sha256)}"))
    if violations:
        raise invalid(*violations)
    return first.header


def _data(part: UploadImageRequest, missing: int, announced: int) -> bytes:
    if part.HasField("header"):
        raise invalid(Violation("header", "must come in the first message only"))
    data = part.data
    if len(data) > MAX_MESSAGE_BYTES:
        raise invalid(Violation("data", f"has {len(data)} bytes, at most {MAX_MESSAGE_BYTES} go into one message"))
    if len(data) > missing:
        raise invalid(Violation("data", f"exceeds the {announced} bytes that were announced"))
    return data


def _check(upload: Upload, header: UploadImageRequest.Header) -> None:
    if upload.size != header.size_bytes:
        raise invalid(Violation("data", f"ended after {upload.size} of {header.size_bytes} bytes"))
    if upload.digest() != header.sha256:
        raise invalid(Violation("header.sha256", "does not match the bytes that arrived: send them again"))
