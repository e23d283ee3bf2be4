"""Specs, endings and image metadata as JSON in the database, read back with full validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from pydantic import TypeAdapter

from clipstyler.events import Result, Warning
from clipstyler.imaging import EncodedImage, ImageMetadata
from clipstyler.spec import StylizationSpec
from clipstyler_server.jobs.events import End, StoredEnd

_SPEC: TypeAdapter[StylizationSpec] = TypeAdapter(StylizationSpec)
_END: TypeAdapter[StoredEnd] = TypeAdapter(StoredEnd)
_METADATA: TypeAdapter[ImageMetadata] = TypeAdapter(ImageMetadata)
_WARNINGS: TypeAdapter[tuple[Warning, ...]] = TypeAdapter(tuple[Warning, ...])


def dump_spec(spec: StylizationSpec) -> str:
    """Return a resolved spec as JSON."""
    return _SPEC.dump_json(spec).decode()


def load_spec(text: str) -> StylizationSpec:
    """Read a resolved spec."""
    return _SPEC.validate_json(text)


def dump_end(end: End) -> str:
    """Return the last event of a job as JSON, without the bytes of its image."""
    return _END.dump_json(without_bytes(end)).decode()


def load_end(text: str) -> StoredEnd:
    """Read the last event of a job."""
    return _END.validate_json(text)


def dump_metadata(metadata: ImageMetadata) -> str:
    """Return the metadata of an image as JSON."""
    return _METADATA.dump_json(metadata).decode()


def load_metadata(text: str) -> ImageMetadata:
    """Read the metadata of an image."""
    return _METADATA.validate_json(text)


def dump_warnings(warnings: tuple[Warning, ...]) -> str | None:
    """Return warnings as JSON; None if there are none."""
    return _WARNINGS.dump_json(warnings).decode() if warnings else None


def load_warnings(text: str | None) -> tuple[Warning, ...]:
    """Read warnings."""
    return _WARNINGS.validate_json(text) if text else ()


def without_bytes(end: End) -> StoredEnd:
    """Return the last event of a job as it is stored."""
    if not isinstance(end, Result):
        return end
    described: Any = end.image.metadata
    return cast("Result[ImageMetadata]", replace(end, image=described, style=b""))


def with_bytes(end: Result[ImageMetadata], data: bytes) -> Result[EncodedImage]:
    """Return a stored result with the bytes of its image."""
    stored = end.image
    assert stored.format is not None
    image: Any = EncodedImage(data, stored.format, stored.width, stored.height, bytes.fromhex(stored.sha256))
    return cast("Result[EncodedImage]", replace(end, image=image))
