"""Styles: the resource, its name, its pages, and how it is applied."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from clipstyler.image_format import ImageFormat
from clipstyler.style_controls import StyleControls, check_controls
from clipstyler.v1 import image_pb2, style_pb2
from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.names import word_of
from clipstyler_server.api.codec.pages import check_page_size
from clipstyler_server.api.codec.requests import read_upload
from clipstyler_server.api.codec.stylization import models_message
from clipstyler_server.api.codec.token_text import token_bytes, token_text
from clipstyler_server.api.codec.values import STYLES, read_stylization_name, style_name, timestamp
from clipstyler_server.errors import ServiceError, Violation, invalid
from clipstyler_server.jobs.job_request import PhotoRequest
from clipstyler_server.jobs.style_store import StoredStyle, StyleQuery

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PLACE = struct.Struct(">d32s")
_CHECK_BYTES = 8
_EVEN_MIX = 0.5
_LARGEST_PAGE = 100  # each is read with its thumbnail


class ApplicationRequest(NamedTuple):
    """How photos are stylized: digests of the styles (the second may be empty), controls and encoding."""

    style: str
    second: str
    controls: StyleControls
    result_format: ImageFormat


def style_message(style: StoredStyle, with_thumbnail: bool) -> style_pb2.Style:
    """Translate a style."""
    described = style.description
    message = style_pb2.Style(
        name=style_name(style.digest),
        style_text=described.style_text,
        source_text=described.source_text,
        encoder_set=described.encoder_set,
        models=models_message(described.models),
        seed=described.seed,
        size=described.size,
        step_count=described.steps,
        photo_count=described.photos,
        versions=described.versions,
        size_bytes=style.size_bytes,
        bundled=style.bundled,
        thumbnail=described.thumbnail if with_thumbnail else b"",
    )
    if not style.bundled:
        message.create_time.CopyFrom(timestamp(style.created_at))
    return message


def read_style_name(name: str, field: str = "name") -> str:
    """Return the digest of a style, or raise `ServiceError` INVALID_FIELD."""
    violations: list[Violation] = []
    digest = _digest(name, field, violations)
    if violations:
        raise invalid(*violations)
    return digest


def read_application(
    message: pb.StyleApplication, prefix: str, max_output_size: int, needs_style: bool = True
) -> ApplicationRequest:
    """Read how photos are stylized, or raise `ServiceError` INVALID_FIELD naming every bad field.

    Parameters
    ----------
    message
        What was sent.
    prefix
        Path of the message in its request.
    max_output_size
        The caller's limit.
    needs_style
        Whether a style must be named.
    """
    violations: list[Violation] = []
    style = _digest(message.style, f"{prefix}style", violations) if message.style or needs_style else ""
    second = _digest(message.second_style, f"{prefix}second_style", violations) if message.second_style else ""
    asked = {field.name: value for field, value in message.controls.ListFields()}
    asked.setdefault("mix", _EVEN_MIX if second else 0.0)
    violations += [
        Violation(f"{prefix}controls.{name}", problem)
        for name, problem in check_controls(asked, {"output_size": max_output_size})
    ]
    if asked["mix"] and not second and not any(field.endswith("mix") for field, _ in violations):
        violations.append(Violation(f"{prefix}controls.mix", "needs a second style: name one in second_style"))
    word = word_of(image_pb2.ImageFormat.DESCRIPTOR, message.result_format) or ImageFormat.PNG
    if word not in list(ImageFormat):
        violations.append(Violation(f"{prefix}result_format", f"{word} is unknown to this server"))
    if violations:
        raise invalid(*violations)
    return ApplicationRequest(style, second, StyleControls(**asked), ImageFormat(word))


class RenderingRequest(NamedTuple):
    """How a photo is stylized, the job whose style is applied ("" for a style), and the photo (None for the job's)."""

    application: ApplicationRequest
    job_id: str
    photo: PhotoRequest | None


def read_rendering(request: pb.RenderStyleRequest, max_output_size: int) -> RenderingRequest:
    """Read how one photo is drawn, or raise `ServiceError` INVALID_FIELD naming every bad field."""
    message, of_job = request.application, bool(request.stylization)
    both = [Violation("stylization", "must be empty if a style is named")] if of_job and message.style else []
    has_photo = request.HasField("photo") or not of_job
    application, job_id, photo = read_together(
        partial(read_application, message, "application.", max_output_size, needs_style=not of_job),
        partial(read_stylization_name, request.stylization, "stylization") if of_job else str,
        partial(read_style_photo, request.photo) if has_photo else lambda: None,
        violations=both,
    )
    return RenderingRequest(application, job_id, photo)


def read_together(*readers: Callable[[], Any], violations: Sequence[Violation] = ()) -> list[Any]:
    """Return what readers return, or raise `ServiceError` INVALID_FIELD naming what all of them refuse."""
    read: list[Any] = []
    found = list(violations)
    for reader in readers:
        try:
            read.append(reader())
        except ServiceError as problem:
            found += problem.details.violations
    if found:
        raise invalid(*found)
    return read


def read_style_photo(message: pb.StylePhoto) -> PhotoRequest:
    """Read a photo, or raise `ServiceError` INVALID_FIELD."""
    violations: list[Violation] = []
    kind = message.WhichOneof("photo")
    if kind is None:
        violations.append(Violation("photo", "is missing: send an image or the name of an upload"))
    upload = read_upload(message.upload, "photo.upload", violations) if kind == "upload" else ""
    if violations:
        raise invalid(*violations)
    return PhotoRequest(message.image, upload)


def read_styles_page(request: pb.ListStylesRequest, scope: str | None) -> StyleQuery:
    """Read which page of the styles of a tenant (None for all) is asked for, or raise `ServiceError` INVALID_FIELD."""
    size = check_page_size(request.page_size, _LARGEST_PAGE)
    after = _read_token(request.page_token, scope) if request.page_token else None
    if request.page_token and after is None:
        raise invalid(Violation("page_token", "was not issued by this server for you: start with an empty one"))
    return StyleQuery(size, after, scope)


def styles_page_token(last: StoredStyle, query: StyleQuery) -> str:
    """Return the token of the page after a style."""
    place = _PLACE.pack(last.created_at, bytes.fromhex(last.digest))
    return token_text(_check(place, query.scope) + place)


def _digest(name: str, field: str, violations: list[Violation]) -> str:
    digest = name.removeprefix(STYLES)
    if not name.startswith(STYLES) or not _DIGEST.fullmatch(digest):
        violations.append(Violation(field, f"must be {STYLES}{{sha256}}, got {name[:80]!r}"))
    return digest


def _read_token(token: str, scope: str | None) -> tuple[float, str] | None:
    decoded = token_bytes(token) or b""
    check, place = decoded[:_CHECK_BYTES], decoded[_CHECK_BYTES:]
    if len(place) != _PLACE.size or check != _check(place, scope):
        return None
    created_at, digest = _PLACE.unpack(place)
    return None if math.isnan(created_at) else (created_at, digest.hex())


def _check(place: bytes, scope: str | None) -> bytes:
    whose = "" if scope is None else f"\0{scope}"
    return hashlib.sha256(b"styles" + place + whose.encode()).digest()[:_CHECK_BYTES]
