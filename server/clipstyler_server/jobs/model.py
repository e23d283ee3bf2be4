"""A job in the front process: one stylization from its admission to its end, and the log of what happened to it."""

from __future__ import annotations

import asyncio
import time
import uuid
from bisect import bisect_right
from datetime import UTC, datetime

from clipstyler_server.engine.base import Order, Previewed
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.broadcast import LATEST_ONLY, Mailbox
from clipstyler_server.jobs.events import Cancelled, CancelReason, Event, Failed, Payload, Succeeded
from clipstyler_server.jobs.records import SOURCES, State

# Numbers of events begin again this far on when a server takes a job up that another run had counted for.
SEQUENCE_STRIDE = 10_000_000


class Job:
    """One stylization.

    Parameters
    ----------
    order
        What is to be done.
    decode_s
        Seconds that decoding the photo took.
    client
        Whose it is: the queue is fair between clients.
    priority
        Class in the queue; larger goes first.
    one_shot
        Whether it belongs to a call and ends with it.
    attempts
        Runs of it that began before.
    first_sequence
        Number that its events begin behind.

    Attributes
    ----------
    state
        Where it is.
    accepted, deadline
        When it was accepted and when it must be over, on the monotonic clock.
    step
        Updates made so far.
    cancel_reason, stop_error
        Why it is being cancelled and what its call ends with; None as long as nobody wants that.
    stored_bytes
        Of its photo.
    position
        Jobs that run or wait before it, as its readers were told.
    end, ended
        Its last event, and whether that was told.
    """

    def __init__(
        self,
        order: Order,
        decode_s: float,
        *,
        client: str = "",
        priority: int = 0,
        one_shot: bool = True,
        attempts: int = 0,
        first_sequence: int = 0,
    ) -> None:
        self.order = order
        self.decode_s = decode_s
        self.client = client
        self.priority = priority
        self.one_shot = one_shot
        self.state = State.QUEUED
        self.accepted = time.monotonic()
        self.deadline = self.accepted + order.timeout_s
        self.queued_s = 0.0
        self.step = 0
        self.cancel_reason: CancelReason | None = None
        self.stop_error: ServiceError | None = None
        self.attempts = attempts
        self.stored_bytes = 0
        self.position = -1
        self.end: Event | None = None
        self.ended = asyncio.Event()
        self._first_sequence = self.sequence = first_sequence
        self._mailboxes: set[Mailbox] = set()
        self._log: list[Event] = []
        self._numbers: dict[type, list[int]] = {kind: [] for kind in LATEST_ONLY}
        self._latest: dict[type, Event] = {}

    @staticmethod
    def new_id() -> str:
        """Make a fresh id."""
        return str(uuid.uuid4())

    @property
    def id(self) -> str:
        """The job's UUID."""
        return self.order.job_id

    @property
    def age_s(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self.accepted

    @property
    def remaining_s(self) -> float:
        """Seconds to its deadline; 0 or less once that is over."""
        return self.deadline - time.monotonic()

    @property
    def preview(self) -> Previewed | None:
        """The latest preview."""
        latest = self._latest.get(Previewed)
        return latest.payload if latest and isinstance(latest.payload, Previewed) else None

    @property
    def watchers(self) -> int:
        """How many follow it."""
        return len(self._mailboxes)

    def watch(self, heartbeat_s: float, after: int = 0) -> Mailbox:
        """Open a mailbox with what is kept behind a number; everything that happens from now on follows."""
        mailbox = Mailbox(heartbeat_s, passed=after, log_expired=after < self._first_sequence)
        for event in sorted((*self._log, *self._latest.values()), key=lambda event: event.sequence):
            if event.sequence > after or event is self.end:
                numbers = self._numbers.get(type(event.payload), [])
                between = max(0, len(numbers) - 1 - bisect_right(numbers, after))
                mailbox.put(event, skipped=between)
        self._mailboxes.add(mailbox)
        return mailbox

    def leave(self, mailbox: Mailbox) -> None:
        """Forget a mailbox that nobody reads any more."""
        self._mailboxes.discard(mailbox)

    def dismiss(self, error: ServiceError) -> None:
        """End every watch with an error; the job itself goes on, here or elsewhere."""
        for mailbox in self._mailboxes:
            mailbox.close(error)

    def publish(self, payload: Payload) -> None:
        """Tell every reader what happened."""
        self.tell(self.next_event(payload))

    def next_event(self, payload: Payload) -> Event:
        """Number what happened."""
        self.sequence += 1
        return Event(self.sequence, datetime.now(UTC), payload)

    def tell(self, event: Event) -> None:
        """Keep an event and give it to every reader."""
        kind = type(event.payload)
        if kind in LATEST_ONLY:
            self._numbers[kind].append(event.sequence)
            self._latest[kind] = event
        else:
            self._log.append(event)
        for mailbox in self._mailboxes:
            mailbox.put(event)
        if isinstance(event.payload, Succeeded | Failed | Cancelled):
            self.end = event
            self.ended.set()

    def become(self, state: State) -> None:
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
