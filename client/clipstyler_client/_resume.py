"""When an interrupted stream is resumed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from numbers import Real
from typing import Any

import grpc

from clipstyler_client._errors import StylizeError, from_rpc_error
from clipstyler_client._events import Event
from clipstyler_client._options import OptionError

RESUME_TIMEOUT_S = 120.0
"""Seconds without any message from the server after which a stream gives up."""
LONGEST_TIMEOUT_S = 366 * 86_400
"""The longest time that a call may be given."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 5.0
# Attempts of a call that never received anything.
_FIRST_ATTEMPTS = 5
# A connection that broke gives no reason. A worker that crashed on a job is not sent the same job again.
_TRANSIENT = {"", "DRAINING", "WORKER_NOT_READY", "STORAGE_UNAVAILABLE"}
# What a client reports if a proxy resets a stream or ends it without a status. The server's own errors have a reason.
_RESET = {"INTERNAL", "UNKNOWN"}


def check_timeout(timeout_s: float) -> float:
    """Return a number of seconds that fits a deadline.

    Raises
    ------
    OptionError
        It is no number, not positive, or longer than a year.
    """
    if not isinstance(timeout_s, Real):
        raise OptionError("timeout_s", f"must be a number of seconds, got {timeout_s!r}")
    if not timeout_s > 0:
        raise OptionError("timeout_s", f"{timeout_s:g} is not above 0")
    if timeout_s > LONGEST_TIMEOUT_S:
        raise OptionError("timeout_s", f"{timeout_s:g} is above {LONGEST_TIMEOUT_S}, a year")
    return timeout_s


class Allowance:
    """The total time of a call, however often it is begun; None for no limit.

    Raises
    ------
    OptionError
        The time is not positive, or longer than a year.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._until = None if timeout_s is None else time.monotonic() + check_timeout(timeout_s)

    @property
    def left_s(self) -> float | None:
        """Seconds that are left, at least 0."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def permits(self, delay_s: float) -> bool:
        """Return whether a pause of so many seconds leaves time for another attempt."""
        return self.left_s is None or delay_s < self.left_s


class Backoff:
    """Delays that grow and are random."""

    def __init__(self) -> None:
        self._delay_s = _FIRST_DELAY_S

    def reset(self) -> None:
        """Begin with short delays again."""
        self._delay_s = _FIRST_DELAY_S

    def after_s(self, error: StylizeError) -> float:
        """Return the seconds to wait after an error, at least those that the server recommends."""
        delay_s = self._delay_s * random.uniform(0.8, 1.2)
        self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
        return max(delay_s, error.retry_delay_s or 0.0)


class FirstAttempts:
    """Attempts of a call that never received anything: five, if the server cannot be reached."""

    def __init__(self) -> None:
        self._failed = 0

    def allows_another(self, error: StylizeError) -> bool:
        """Count an attempt that failed, and return whether the next one makes sense."""
        self._failed += 1
        return error.code == "UNAVAILABLE" and self._failed < _FIRST_ATTEMPTS


class Retries:
    """Attempts of a call until it is answered, within its time, and as late as the server recommends.

    gRPC does not make them: it does not know `RetryInfo`, and loses some of the calls that it retries.

    Parameters
    ----------
    timeout_s
        Of the whole call; None for no limit.

    Raises
    ------
    OptionError
        The time is not positive, or longer than a year.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._allowance = Allowance(timeout_s)
        self._attempts = FirstAttempts()
        self._backoff = Backoff()

    @property
    def left_s(self) -> float | None:
        """Seconds that are left for the next attempt."""
        return self._allowance.left_s

    def delay_after(self, error: StylizeError) -> float:
        """Return the seconds to wait before the next attempt; raises the error if another one makes no sense."""
        delay_s = self._backoff.after_s(error)
        if not (self._attempts.allows_another(error) and self._allowance.permits(delay_s)):
            raise error
        return delay_s


class Resume:
    """Resumes an interrupted stream: after growing, random delays, until the server was silent for too long.

    A stream that never received anything fails after five attempts.

    Parameters
    ----------
    begin_after
        Begins the stream after a sequence number.
    after_sequence
        The first such number.
    timeout_s
        Seconds without any message from the server after which it gives up.
    after_resets
        Whether it also resumes after a proxy reset the stream. A proxy resets streams whose time is up, too: a watch
        continues then, but a one-shot call would begin anew each time.
    allowance
        The total time of the call.
    """

    def __init__(
        self,
        begin_after: Callable[[int], Any],
        after_sequence: int = 0,
        timeout_s: float = RESUME_TIMEOUT_S,
        *,
        after_resets: bool = False,
        allowance: Allowance | None = None,
    ) -> None:
        self._begin_after = begin_after
        self._sequence = after_sequence
        self._timeout_s = timeout_s
        self._after_resets = after_resets
        self._allowance = allowance or Allowance(None)
        self._has_received = False
        self._listens_since = time.monotonic()
        self._first_attempts = FirstAttempts()
        self._backoff = Backoff()

    def listen(self) -> None:
        """Record that the reader begins to wait for an event: before, it was busy, whatever the server did."""
        self._listens_since = time.monotonic()

    def received(self, event: Event) -> None:
        """Record that an event was received."""
        self._sequence = max(self._sequence, event.sequence)
        self._has_received = True
        self._backoff.reset()

    def begin(self) -> Any:
        """Begin the stream after the last event received."""
        return self._begin_after(self._sequence)

    def delay_after(self, error: grpc.RpcError | StylizeError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises
        ------
        StylizeError
            Another attempt makes no sense, or the time is up, or would be.
        """
        reported = error if isinstance(error, StylizeError) else from_rpc_error(error)
        if self._after_resets and isinstance(error, StylizeError) and error.reason:
            is_worth_it = False  # a job that ended stays as it is, whatever would help the next one
        elif not self._has_received:
            # What is reported in an event is how the job ended.
            is_worth_it = isinstance(error, grpc.RpcError) and self._first_attempts.allows_another(reported)
        else:
            is_worth_it = self._is_transient(reported) and time.monotonic() - self._listens_since <= self._timeout_s
        delay_s = self._backoff.after_s(reported)
        if not (is_worth_it and self._allowance.permits(delay_s)):
            raise reported from error
        return delay_s

    def _is_transient(self, error: StylizeError) -> bool:
        if error.code == "UNAVAILABLE":
            return error.reason in _TRANSIENT
        return self._after_resets and error.code in _RESET and not error.reason
