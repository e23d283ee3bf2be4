"""Durable jobs: their plain values, and the requests of their calls."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from clipstyler.v1 import stylization_pb2
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.names import word_of
from clipstyler_client._codec import format_word, quality, spec
from clipstyler_client._errors import BrokenResultError, StylizeError, from_message
from clipstyler_client._events import QualityReport, Spec
from clipstyler_client._files import write_whole
from clipstyler_client._options import choose, encoded

FINISHED = ("succeeded", "failed", "cancelled")
UPLOAD_CHUNK_BYTES = 2**20
_Stylization = stylization_pb2.Stylization


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it is on the server.

    Attributes
    ----------
    name
        `stylizations/{uuid}`.
    state
        "queued", "running", "succeeded", "failed" or "cancelled"; the last three are final.
    spec
        What was asked for, resolved.
    queue_position, estimated_start, estimated_end
        Jobs before it, when it is expected to start, and to end at the latest, while it waits (None until a step time
        was measured).
    step
        Steps completed.
    attempts
        Runs begun; more than 1 after a restart of the server.
    expires
        When it is deleted, once it is finished.
    error
        What went wrong, once it failed.
    cancel_reason
        "requested", "caller_left" or "draining", once it was cancelled.
    quality
        Of the result, once it succeeded and was measured.
    fitted_photos
        Photos that it fits a style to; 0 for plain stylizations.
    style
        Resource name of that style, once it succeeded.
    """

    name: str
    state: str
    spec: Spec
    priority: str
    queue_position: int
    step: int
    attempts: int
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    deadline: datetime | None
    expires: datetime | None
    estimated_start: datetime | None
    estimated_end: datetime | None = None
    error: StylizeError | None = None
    cancel_reason: str = ""
    quality: QualityReport | None = None
    fitted_photos: int = 0
    style: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether its state is final."""
        return self.state in FINISHED


class JobPage(NamedTuple):
    """Jobs, newest first, and the token of the next page; "" on the last one."""

    jobs: tuple[Job, ...]
    next_token: str


@dataclass(frozen=True)
class JobImage:
    """An image of a job: its encoded bytes, complete and checked against their digest."""

    data: bytes = field(repr=False)
    format: str
    width: int
    height: int

    def save(self, path: str | Path) -> Path:
        """Write the encoded bytes to a file and return its path."""
        return write_whole(path, self.data)


class Upload(NamedTuple):
    """A photo that the server has already; `jobs.upload` returns one."""

    name: str


def full_name(name: str) -> str:
    """Complete a bare UUID to a resource name; what is no text is refused as the field of its request."""
    return f"stylizations/{name}" if isinstance(name, str) and "/" not in name else name


def priority_number(word: str) -> stylization_pb2.Stylization.Priority.ValueType:
    """Return the number of "low", "normal" or "high"."""
    number: stylization_pb2.Stylization.Priority.ValueType = choose("priority", _Stylization.Priority.DESCRIPTOR, word)
    return number


def page_request(state: str | None, page_size: int, token: str) -> pb.ListStylizationsRequest:
    """Build the request of a page."""
    number = choose("state", _Stylization.State.DESCRIPTOR, state)
    return encoded(pb.ListStylizationsRequest, page_size=page_size, page_token=token, state=number)


def image_request(name: str, kind: str) -> pb.GetStylizationImageRequest:
    """Build the request of a download."""
    number = choose("kind", _Stylization.ImageKind.DESCRIPTOR, kind)
    return encoded(pb.GetStylizationImageRequest, name=full_name(name), kind=number)


def upload_messages(data: bytes) -> Iterator[pb.UploadImageRequest]:
    """Split a photo into the messages of an upload."""
    header = pb.UploadImageRequest.Header(size_bytes=len(data), sha256=hashlib.sha256(data).digest())
    yield pb.UploadImageRequest(header=header)
    for start in range(0, len(data), UPLOAD_CHUNK_BYTES):
        yield pb.UploadImageRequest(data=data[start : start + UPLOAD_CHUNK_BYTES])


class ImageAssembly:
    """Joins the parts of a download."""

    def __init__(self) -> None:
        self._part = pb.GetStylizationImageResponse()
        self._data = bytearray()

    def add(self, part: pb.GetStylizationImageResponse) -> None:
        """Add the next part."""
        if part.WhichOneof("part") == "metadata":
            self._part = part
        else:
            self._data += part.data

    def finish(self) -> JobImage:
        """Return the complete image.

        Raises
        ------
        BrokenResultError
            The bytes are not those that were announced.
        """
        metadata, data = self._part.metadata, bytes(self._data)
        if len(data) != metadata.size_bytes or hashlib.sha256(data).digest() != metadata.sha256:
            raise BrokenResultError("DATA_LOSS", "the image arrived broken; request it again", "BROKEN_RESULT")
        return JobImage(data, format_word(metadata.format), metadata.width_px, metadata.height_px)


def job_page(response: pb.ListStylizationsResponse) -> JobPage:
    """Translate a page."""
    return JobPage(tuple(map(job, response.stylizations)), response.next_page_token)


def job(message: stylization_pb2.Stylization) -> Job:
    """Translate a job."""
    return Job(
        name=message.name,
        state=word_of(_Stylization.State.DESCRIPTOR, message.state),
        spec=spec(message.spec),
        priority=word_of(_Stylization.Priority.DESCRIPTOR, message.priority),
        queue_position=message.queue_position,
        step=message.step,
        attempts=message.attempt_count,
        created=_time(message, "create_time"),
        started=_time(message, "start_time"),
        ended=_time(message, "end_time"),
        deadline=_time(message, "deadline_time"),
        expires=_time(message, "expire_time"),
        estimated_start=_time(message, "estimated_start_time"),
        estimated_end=_time(message, "estimated_end_time"),
        error=from_message(message.error) if message.HasField("error") else None,
        cancel_reason=word_of(_Stylization.CancelReason.DESCRIPTOR, message.cancel_reason),
        quality=quality(message.result.quality) if message.result.HasField("quality") else None,
        fitted_photos=message.fitted_photo_count,
        style=message.result.style,
    )


def _time(message: stylization_pb2.Stylization, name: str) -> datetime | None:
    return getattr(message, name).ToDatetime(UTC) if message.HasField(name) else None  # type: ignore[arg-type]
