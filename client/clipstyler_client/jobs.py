"""Durable jobs: calls of StylizationService for `Client.call` and `AsyncClient.call` alike, and their plain values.

    job = client.call(jobs.create("photo.jpg", "fire"))
    client.watch(job.name).result().save("fire.png")

A job lives on the server, not in a call: it outlives this process, the connection and restarts of the server.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from clipstyler.v1 import event_pb2, stylization_pb2
from clipstyler.v1 import stylization_service_pb2 as pb2
from clipstyler_client.calls import STYLIZATION, Call
from clipstyler_client.errors import BrokenResultError, StylizeError, from_status
from clipstyler_client.events import Quality
from clipstyler_client.options import (
    OptionError,
    PreviewOptions,
    StylizeOptions,
    image_format_from_proto,
    image_format_to_proto,
    options_to_proto,
    previews_to_proto,
)
from clipstyler_client.translate import Photo, photo_bytes, quality_from_proto

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
PRIORITIES = ("low", "normal", "high")
IMAGE_KINDS = ("content", "preview", "result")
OVER = ("succeeded", "failed", "cancelled")
UPLOAD_CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Job:
    """How a job is.

    Attributes
    ----------
    name
        `stylizations/{uuid}`.
    state
        One of `STATES`; the last three are final.
    queue_position, estimated_start
        Jobs before it and when it is expected to start, while it waits (None as long as nothing was measured).
    step, steps
        Updates made, and in all.
    attempts
        Times that a run of it began; more than 1 after a restart of the server.
    error
        What went wrong, once it failed.
    cancel_reason
        "requested", "caller_left" or "draining", once it was cancelled.
    quality
        Of the result, once it succeeded and was measured.
    """

    name: str
    state: str
    style_text: str
    priority: str
    queue_position: int
    step: int
    steps: int
    attempts: int
    seed: int
    request_id: str
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    deadline: datetime | None
    estimated_start: datetime | None
    error: StylizeError | None = None
    cancel_reason: str = ""
    quality: Quality | None = None

    @property
    def is_over(self) -> bool:
        """Whether its state is final."""
        return self.state in OVER


class Page(NamedTuple):
    """Jobs, newest first, and the token of the page behind them; "" on the last."""

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
        path = Path(path)
        path.write_bytes(self.data)
        return path


class Upload(NamedTuple):
    """A photo that the server has already; `Client.upload` gives one."""

    name: str


@dataclass(frozen=True)
class Terms:
    """How a job is taken.

    Attributes
    ----------
    request_id
        A UUID4 that makes creating repeatable. Default: a fresh one.
    priority
        "low", "normal" or "high".
    timeout_s
        Seconds in which it may wait and run. Default and limit: the server's.
    """

    request_id: str | None = None
    priority: str = "normal"
    timeout_s: float | None = None


def create(
    photo: Photo | Upload,
    style_text: str,
    *,
    source_text: str | None = None,
    options: StylizeOptions | None = None,
    previews: PreviewOptions | None = None,
    result_format: str | None = None,
    terms: Terms = Terms(),
) -> Call[Job]:
    """Create a job; making the same call again gives the same job, also after it finished.

    Parameters
    ----------
    photo
        Bytes of an image file, or its path, or what `Client.upload` gave.
    style_text, source_text, options, previews, result_format
        As in `Client.stylize`.
    terms
        Request id, priority and time.

    Raises
    ------
    OSError
        The file cannot be read.
    OptionError
        An option is none of the known ones.
    """
    request = pb2.CreateStylizationRequest(
        image=b"" if isinstance(photo, Upload) else photo_bytes(photo),
        style_text=style_text,
        source_text=source_text,
        options=options_to_proto(options or StylizeOptions()),
        previews=previews_to_proto(previews or PreviewOptions()),
        result_format=image_format_to_proto("result_format", result_format) or 0,  # type: ignore[arg-type]
        request_id=terms.request_id or str(uuid.uuid4()),
        priority=_number("priority", terms.priority, PRIORITIES),  # type: ignore[arg-type]
        upload=photo.name if isinstance(photo, Upload) else "",
    )
    if terms.timeout_s is not None:
        request.timeout.FromTimedelta(timedelta(seconds=terms.timeout_s))
    return Call(STYLIZATION, "CreateStylization", request, _of_response)


def get(name: str) -> Call[Job]:
    """Ask how a job is."""
    return Call(STYLIZATION, "GetStylization", pb2.GetStylizationRequest(name=full_name(name)), _of_response)


def page(state: str | None = None, page_size: int = 0, token: str = "") -> Call[Page]:
    """Ask for a page of jobs, newest first; `Client.jobs` goes through all pages.

    Raises
    ------
    OptionError
        There is no such state.
    """
    request = pb2.ListStylizationsRequest(
        page_size=page_size,
        page_token=token,
        state=_number("state", state, STATES) if state else 0,  # type: ignore[arg-type]
    )
    return Call(STYLIZATION, "ListStylizations", request, _page)


def cancel(name: str) -> Call[Job]:
    """Stop a job within one step; one that is over stays as it is."""
    return Call(STYLIZATION, "CancelStylization", pb2.CancelStylizationRequest(name=full_name(name)), _of_response)


def delete(name: str) -> Call[None]:
    """Delete a job that is over, and its images."""
    return Call(STYLIZATION, "DeleteStylization", pb2.DeleteStylizationRequest(name=full_name(name)), lambda _: None)


def watch_request(name: str, after_sequence: int) -> pb2.WatchStylizationRequest:
    """Build the request of a watch."""
    return pb2.WatchStylizationRequest(name=full_name(name), after_sequence=after_sequence)


def image_request(name: str, kind: str) -> pb2.GetStylizationImageRequest:
    """Build the request of a download.

    Raises
    ------
    OptionError
        There is no such kind.
    """
    number = _number("kind", kind, IMAGE_KINDS)
    return pb2.GetStylizationImageRequest(name=full_name(name), kind=number)  # type: ignore[arg-type]


def upload_messages(photo: Photo) -> Iterator[pb2.UploadImageRequest]:
    """Split a photo into the messages of an upload."""
    data = photo_bytes(photo)
    header = pb2.UploadHeader(size_bytes=len(data), sha256=hashlib.sha256(data).digest())
    yield pb2.UploadImageRequest(header=header)
    for start in range(0, len(data), UPLOAD_CHUNK_BYTES):
        yield pb2.UploadImageRequest(data=data[start : start + UPLOAD_CHUNK_BYTES])


class ImageAssembly:
    """Puts the parts of a download together."""

    def __init__(self) -> None:
        self._what: event_pb2.Image | None = None
        self._data = bytearray()

    def add(self, part: pb2.GetStylizationImageResponse) -> None:
        """Take the next part."""
        if part.WhichOneof("part") == "image":
            self._what = part.image
        else:
            self._data += part.chunk.data

    def finish(self) -> JobImage:
        """Return the whole.

        Raises
        ------
        BrokenResultError
            The bytes are not those that were announced.
        """
        what, data = self._what, bytes(self._data)
        if what is None or len(data) != what.size_bytes or hashlib.sha256(data).digest() != what.sha256:
            raise BrokenResultError("DATA_LOSS", "the image arrived broken; ask again", "BROKEN_RESULT")
        return JobImage(data, image_format_from_proto(what.format), what.width, what.height)


def full_name(name: str) -> str:
    """Complete a bare UUID to a resource name."""
    return name if "/" in name else f"stylizations/{name}"


def _number(name: str, value: str, choices: tuple[str, ...]) -> int:
    if value not in choices:
        raise OptionError(name, f"{value!r} is none of {', '.join(choices)}")
    return choices.index(value) + 1


def _page(response: pb2.ListStylizationsResponse) -> Page:
    return Page(tuple(map(job_from_proto, response.stylizations)), response.next_page_token)


def _of_response(response: Any) -> Job:
    return job_from_proto(response.stylization)


def job_from_proto(job: stylization_pb2.Stylization) -> Job:
    """Translate a job."""
    reason = event_pb2.CancelReason.Name(job.cancel_reason).removeprefix("CANCEL_REASON_").lower()
    return Job(
        name=job.name,
        state=_name(job.state, STATES),
        style_text=job.style_text,
        priority=_name(job.priority, PRIORITIES),
        queue_position=job.queue_position,
        step=job.step,
        steps=job.steps,
        attempts=job.attempts,
        seed=job.seed,
        request_id=job.request_id,
        created=_time(job, "create_time"),
        started=_time(job, "start_time"),
        ended=_time(job, "end_time"),
        deadline=_time(job, "deadline"),
        estimated_start=_time(job, "estimated_start_time"),
        error=from_status(job.error) if job.HasField("error") else None,
        cancel_reason=reason if job.cancel_reason else "",
        quality=quality_from_proto(job.result.quality) if job.result.HasField("quality") else None,
    )


def _name(number: int, choices: tuple[str, ...]) -> str:
    return choices[number - 1] if 0 < number <= len(choices) else ""


def _time(job: stylization_pb2.Stylization, name: str) -> datetime | None:
    return getattr(job, name).ToDatetime(UTC) if job.HasField(name) else None  # type: ignore[arg-type]
