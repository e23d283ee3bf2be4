"""Events of a job. What the engine reports travels as it is (`clipstyler.events`); the server adds its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from clipstyler.events import Preparing, Preview, Progress, Rendering, Result, Started, Warning
from clipstyler.imaging import EncodedImage, ImageFile, ImageMetadata
from clipstyler_server.errors import ErrorDetails
from clipstyler_server.storage.records import State


@dataclass(frozen=True)
class Queued:
    """The job was accepted; so many run or wait before it. Without a measured step time, `start` and `end` are None."""

    position: int
    seed: int
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Chunk:
    """Bytes of a large result, from `offset` on: read from the storage by the image's digest when they are sent."""

    offset: int
    digest: str
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Draft:
    """A picture of the photo in a style at hand, before the first preview of the job.

    Attributes
    ----------
    style, style_text
        Digest of the style, and the text that it was fitted to.
    similarity
        Cosine of the directions of that text and the job's; 1 for the same text, None if the caller named the style.
    image
        The picture.
    """

    style: str
    style_text: str
    similarity: float | None
    image: EncodedImage


@dataclass(frozen=True)
class Gap:
    """Events were left out because the reader was slow, or are no longer stored (`log_expired`)."""

    skipped_progress: int
    skipped_previews: int
    log_expired: bool = False


@dataclass(frozen=True)
class Heartbeat:
    """Keep-alive during silence."""


@dataclass(frozen=True)
class Failed:
    """The job failed."""

    error: ErrorDetails


class CancelReason(StrEnum):
    """Why a job was cancelled."""

    REQUESTED = "requested"
    CALLER_LEFT = "caller_left"
    DRAINING = "draining"


@dataclass(frozen=True)
class Cancelled:
    """The job was cancelled after so many completed steps."""

    step: int
    reason: CancelReason = CancelReason.REQUESTED


End = Result[ImageFile] | Failed | Cancelled
"""How a job ended, as the engine reports it: the image is a file of the spool."""
StoredEnd = Result[ImageMetadata] | Failed | Cancelled
"""The same as it is stored and published: the image is stored by its digest."""
Payload = (
    Queued
    | Started
    | Preparing
    | Progress
    | Preview[EncodedImage]
    | Draft
    | Rendering
    | Warning
    | Chunk
    | Gap
    | Heartbeat
    | End
    | StoredEnd
    | Result[EncodedImage]
)

FINAL = (Result, Failed, Cancelled)


def state_after(end: End | StoredEnd) -> State:
    """Return the state of a job that ended so."""
    if isinstance(end, Result):
        return State.SUCCEEDED
    return State.CANCELLED if isinstance(end, Cancelled) else State.FAILED


@dataclass(frozen=True)
class JobEvent:
    """One event of a job.

    Attributes
    ----------
    sequence
        Number within the job, from 1. It increases monotonically and may skip; a gap or a heartbeat carries the number
        of the last event before it.
    time
        When it happened.
    payload
        What happened.
    """

    sequence: int
    time: datetime
    payload: Payload
