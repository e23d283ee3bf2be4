"""What happens to a job, as its readers are told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from clipstyler_server.engine.base import Finished, Order, Previewed, Progressed, Started
from clipstyler_server.errors import ServiceError


@dataclass(frozen=True)
class Queued:
    """The job was accepted; so many run or wait before it. None: when it will start cannot be told yet."""

    position: int
    seed: int
    start: datetime | None = None


@dataclass(frozen=True)
class Warned:
    """Worth knowing; the work goes on."""

    code: str
    message: str


@dataclass(frozen=True)
class Chunk:
    """Bytes of a large result, from `offset` on."""

    offset: int
    data: memoryview


@dataclass(frozen=True)
class Gap:
    """Events were left out because the reader was slow, or came after they were forgotten (`log_expired`)."""

    skipped_progress: int
    skipped_previews: int
    log_expired: bool = False


@dataclass(frozen=True)
class Heartbeat:
    """Nothing happened for a while."""


@dataclass(frozen=True)
class Succeeded:
    """The end: the result, what was ordered, and the time before the optimization.

    `in_chunks` says that the bytes of the image came as chunks before.
    """

    finished: Finished
    order: Order
    queued_s: float
    decode_s: float
    in_chunks: bool


@dataclass(frozen=True)
class Failed:
    """The end: an error."""

    error: ServiceError


class CancelReason(StrEnum):
    """Why a job was cancelled."""

    REQUESTED = "requested"
    CALLER_LEFT = "caller_left"
    DRAINING = "draining"


@dataclass(frozen=True)
class Cancelled:
    """The end: stopped after so many updates. The error is what the call ends with."""

    step: int
    error: ServiceError
    reason: CancelReason = CancelReason.REQUESTED


End = Succeeded | Failed | Cancelled
Payload = Queued | Started | Progressed | Previewed | Warned | Chunk | Gap | Heartbeat | End


@dataclass(frozen=True)
class Event:
    """One thing that happened to a job.

    Attributes
    ----------
    sequence
        Number in the job, from 1. It never falls: left-out events leave gaps, and a gap or a heartbeat bears the
        number last passed.
    time
        When it happened.
    payload
        What happened.
    """

    sequence: int
    time: datetime
    payload: Payload
