"""A job in the front process: one stylization from its admission to its end, and the log of its events."""

from __future__ import annotations

import asyncio
import time
import uuid
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from clipstyler.events import Preview, Result
from clipstyler.imaging import EncodedImage, Picture
from clipstyler.masking import Levels
from clipstyler.spec import StylizationSpec
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import Cancelled, CancelReason, Failed, JobEvent, Payload, StoredEnd
from clipstyler_server.jobs.subscription import LATEST_ONLY, Subscription
from clipstyler_server.observability.traces import JobTrace, NoSpan
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import SOURCES, State
from clipstyler_server.workers.engine import Task

_NOBODY = Caller()


class Job:
    """One stylization.

    Parameters
    ----------
    job_id
        Its UUID.
    spec
        What is run, resolved.
    picture
        The decoded photo, fitted to the size of the spec.
    timeout_s
        Seconds that it may wait and run.
    result_size
        Width and height of its result in pixels.
    mask
        Light of the region's mask at the size of the picture; None if it has none.
    decode_s
        Seconds that decoding the photo took.
    caller
        Who asked: the queue is fair between callers.
    priority
        Class in the queue; larger runs first.
    one_shot
        Whether it belongs to a call and ends with it.
    attempts, lost_runs
        Runs begun before, and those of them whose engine was lost.
    first_sequence
        Number after which its events begin.
    stored_bytes
        Of its photos and its mask.
    fitted_photos
        Photos that it fits a style to, its own among them; 0 of a plain stylization.
    lease
        Under which it was claimed; empty if this server has its jobs for itself.
    trace
        Its spans.
    log_context
        What its log lines have: the ids of the request and the trace that it came with.

    Attributes
    ----------
    state
        Current state.
    accepted, deadline
        When it was accepted and when it must be finished, on the monotonic clock.
    step
        Steps completed.
    cancel_reason
        Why it is being cancelled; None if it is not.
    cancelled
        When it was cancelled at work, on the monotonic clock; None if it was not.
    begun, prepared
        Whether the engine has begun it, and its preparation has ended.
    position
        Jobs running or waiting before it, as last published.
    end
        How it ended, once that was published.
    gone
        Set once its end was published, or this server has let go of it.
    """

    def __init__(  # noqa: PLR0913 - one fact each, set once
        self,
        job_id: str,
        spec: StylizationSpec,
        picture: Picture,
        timeout_s: float,
        *,
        result_size: tuple[int, int],
        mask: Levels | None = None,
        decode_s: float = 0.0,
        caller: Caller = _NOBODY,
        priority: int = 0,
        one_shot: bool = True,
        attempts: int = 0,
        lost_runs: int = 0,
        first_sequence: int = 0,
        stored_bytes: int = 0,
        fitted_photos: int = 0,
        lease: str = "",
        trace: JobTrace | None = None,
        log_context: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = job_id
        self.spec = spec
        self.picture = picture
        self.result_size = result_size
        self.mask = mask
        self.decode_s = decode_s
        self.caller = caller
        self.priority = priority
        self.one_shot = one_shot
        self.state = State.QUEUED
        self.accepted = time.monotonic()
        self.deadline = self.accepted + timeout_s
        self.queued_s = 0.0
        self.step = 0
        self.begun = self.prepared = False
        self.cancel_reason: CancelReason | None = None
        self.cancelled: float | None = None
        self.attempts = attempts
        self.lost_runs = lost_runs
        self.stored_bytes = stored_bytes
        self.fitted_photos = fitted_photos
        self.lease = lease
        self.trace = trace or JobTrace(NoSpan())
        self.log_context = log_context or {}
        self.position = -1
        self.end: StoredEnd | None = None
        self.gone = asyncio.Event()
        self.sequence = first_sequence
        # Of a job that was claimed while it waited nothing is lost.
        self._log_begins = first_sequence if attempts or not lease else 0
        self._subscriptions: set[Subscription] = set()
        self._log: list[JobEvent] = []
        self._numbers: dict[type, list[int]] = {kind: [] for kind in LATEST_ONLY}
        self._latest: dict[type, JobEvent] = {}

    @staticmethod
    def new_id() -> str:
        """Draw a fresh id."""
        return str(uuid.uuid4())

    @property
    def age_s(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self.accepted

    @property
    def remaining_s(self) -> float:
        """Seconds to its deadline; 0 or less once that has passed."""
        return self.deadline - time.monotonic()

    @property
    def preview(self) -> EncodedImage | None:
        """The latest preview."""
        latest = self._latest.get(Preview)
        return latest.payload.image if latest and isinstance(latest.payload, Preview) else None

    @property
    def watchers(self) -> int:
        """Number of subscriptions."""
        return len(self._subscriptions)

    def claim(self, lease: str, first_sequence: int) -> None:
        """Make a job that waited elsewhere one of this server; the database knows whether it belongs to a call."""
        self.lease, self.sequence, self.one_shot = lease, first_sequence, False

    def task(self) -> Task:
        """Return what the engine runs, with the time that is left."""
        return Task(
            self.id,
            self.spec,
            self.picture,
            self.remaining_s,
            self.result_size,
            self.log_context,
            self.mask,
            max(0, self.fitted_photos - 1),
        )

    def subscribe(self, heartbeat_s: float, after: int = 0) -> Subscription:
        """Open a subscription to what is stored after a sequence number and everything from now on."""
        subscription = Subscription(heartbeat_s, passed=after, log_expired=after < self._log_begins)
        for event in sorted((*self._log, *self._latest.values()), key=lambda event: event.sequence):
            if event.sequence > after or event.payload is self.end:
                numbers = self._numbers.get(type(event.payload), [])
                between = max(0, len(numbers) - 1 - bisect_right(numbers, after))
                subscription.put(event, skipped=between)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription that is no longer read."""
        self._subscriptions.discard(subscription)

    def disconnect(self, error: ServiceError) -> None:
        """End every subscription with an error; the job itself goes on, here or on another server."""
        for subscription in self._subscriptions:
            subscription.close(error)

    def publish(self, payload: Payload) -> None:
        """Number what happened and deliver it to every subscription."""
        self.deliver(self.next_event(payload))

    def next_event(self, payload: Payload) -> JobEvent:
        """Number what happened."""
        self.sequence += 1
        return JobEvent(self.sequence, datetime.now(UTC), payload)

    def deliver(self, event: JobEvent) -> None:
        """Store an event in the log and deliver it to every subscription."""
        kind: type[Any] = type(event.payload)
        if kind in LATEST_ONLY:
            self._numbers[kind].append(event.sequence)
            self._latest[kind] = event
        else:
            self._log.append(event)
        for subscription in self._subscriptions:
            subscription.put(event)
        if isinstance(event.payload, Result | Failed | Cancelled):
            end: Any = event.payload
            self.end = end
            self.gone.set()

    def begin_again(self) -> None:
        """Forget how far its run came, which was lost."""
        self.begun = self.prepared = False
        self.step, self.position = 0, -1

    def enter(self, state: State) -> None:
        """Enter the next state.

        Raises
        ------
        RuntimeError
            The state cannot follow the present one.
        """
        if self.state not in SOURCES[state]:
            raise RuntimeError(f"job {self.id} is {self.state} and cannot become {state}")
        if state is State.RUNNING:
            self.queued_s = self.age_s
        self.state = state
