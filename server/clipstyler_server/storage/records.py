"""A stored job, and which state may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether no other state follows."""
        return self not in {State.QUEUED, State.RUNNING}


# The states from which each state may be entered. A running job is queued again if its server exited.
SOURCES: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING}),
    State.RUNNING: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset({State.RUNNING}),
    State.FAILED: frozenset({State.QUEUED, State.RUNNING}),
    State.CANCELLED: frozenset({State.QUEUED, State.RUNNING}),
}


# When a server resumes a job, its events are numbered from this far after those of the earlier run.
SEQUENCE_STRIDE = 10_000_000


@dataclass(frozen=True)
class Unused:
    """A finished job, an upload or a style, which may be deleted to make room.

    Attributes
    ----------
    job_id, upload, style
        Id of the job, or digest of the upload or the style; the others are empty.
    tenant
        Owner of the upload or the style.
    size_bytes
        Bytes that it counts with.
    """

    job_id: str
    upload: str
    style: str
    tenant: str
    size_bytes: int


@dataclass(frozen=True)
class Record:
    """One stored job. Times are seconds since 1970, digests SHA-256 in lower-case hexadecimal.

    Attributes
    ----------
    tenant
        Owner; empty if the server asked for no credentials.
    request_id
        The caller's, unique for its tenant; None if the call had none.
    payload_digest
        Of the request without its id: distinguishes a repetition from another request under the same id.
    account, client
        Of the caller: what its bytes are counted by, and what it calls itself.
    one_shot
        Whether the job belongs to a call and ends with it.
    spec
        What is run, resolved, as JSON.
    content, content_metadata
        Digest of the photo, and what describes it, as JSON.
    mask
        Digest of the mask of its region; None if there is none.
    style
        Digest of the fitted network that it keeps; None if it keeps none.
    fitted_photos
        Number of photos of a job that makes a style, `content` among them; 0 of a plain stylization.
    other_photos
        Digests of these photos besides `content`, in order, with spaces between them.
    end
        The last event without image bytes, as JSON; None until there is one.
    attempts, crashes, lost_runs
        Runs begun, those of them that ended because the server died, and those whose engine was lost.
    sequence
        Number of the last event; 0 until the job is finished.
    lease_owner, lease_until
        The server that has the job, and until when. Of a job in a shared queue: the front that runs it, without a time.
    arrival
        Place in the order of arrival of a shared queue; None if the job is in none.
    home
        Front whose call a one-shot job of a shared queue belongs to.
    cancel
        Why a job that runs elsewhere is to be cancelled; None if it is not.
    step
        Steps completed, as of the latest renewal of its lease.
    warnings
        What was warned of when it was accepted, as JSON.
    """

    id: str
    tenant: str
    request_id: str | None
    payload_digest: str
    account: str
    client: str
    priority: int
    one_shot: bool
    state: State
    created_at: float
    deadline_at: float
    spec: str
    content: str
    content_metadata: str
    started_at: float | None = None
    ended_at: float | None = None
    attempts: int = 0
    crashes: int = 0
    lost_runs: int = 0
    sequence: int = 0
    result: str | None = None
    mask: str | None = None
    style: str | None = None
    fitted_photos: int = 0
    other_photos: str = ""
    end: str | None = None
    stored_bytes: int = 0
    lease_owner: str | None = None
    lease_until: float | None = None
    arrival: int | None = None
    home: str | None = None
    cancel: str | None = None
    step: int = 0
    warnings: str | None = None


@dataclass(frozen=True)
class StyleRecord:
    """One stored style of a tenant. Times are seconds since 1970.

    Attributes
    ----------
    tenant
        Owner; empty if the server asked for no credentials.
    digest
        SHA-256 of its file in lower-case hexadecimal.
    account
        Of the caller: what its bytes are counted by.
    used_at
        When it was last applied, or stored.
    description
        What describes it, as JSON.
    """

    tenant: str
    digest: str
    account: str
    created_at: float
    used_at: float
    size_bytes: int
    description: str
