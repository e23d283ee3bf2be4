"""A job: one stylisation from its admission to its end."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from enum import StrEnum

from clipstyler_server.engine.base import Order
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.broadcast import Mailbox
from clipstyler_server.jobs.events import Event, Payload


class State(StrEnum):
    """State of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_NEXT = {
    State.QUEUED: {State.RUNNING, State.FAILED, State.CANCELLED},
    State.RUNNING: {State.SUCCEEDED, State.FAILED, State.CANCELLED},
}


class Job:
    """One stylisation.

    Parameters
    ----------
    order
        What is to be done.
    decode_s
        Seconds that decoding the photo took.
    mailbox
        Of the reader who is told about it.

    Attributes
    ----------
    state
        Where it is.
    accepted, deadline
        When it was accepted and when it must be over, on the monotonic clock.
    stop_error
        What the call ends with if the job stops because the server wants it; None as long as it does not.
    """

    def __init__(self, order: Order, decode_s: float, mailbox: Mailbox) -> None:
        self.order = order
        self.decode_s = decode_s
        self.mailbox = mailbox
        self.state = State.QUEUED
        self.accepted = time.monotonic()
        self.deadline = self.accepted + order.timeout_s
        self.queued_s = 0.0
        self.stop_error: ServiceError | None = None
        self._sequence = 0

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

    def publish(self, payload: Payload) -> None:
        """Tell the reader what happened."""
        self._sequence += 1
        self.mailbox.put(Event(self._sequence, datetime.now(UTC), payload))

    def become(self, state: State) -> None:
        """Enter the next state.

        Raises
        ------
        RuntimeError
            The state cannot follow the present one.
        """
        if state not in _NEXT.get(self.state, set()):
            raise RuntimeError(f"job {self.id} is {self.state} and cannot become {state}")
        if state is State.RUNNING:
            self.queued_s = self.age_s
        self.state = state
