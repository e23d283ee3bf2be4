"""When an interrupted stream is taken up again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import grpc

from clipstyler_client.errors import StylizeError, from_rpc_error
from clipstyler_client.events import Event
from clipstyler_client.options import OptionError

PATIENCE_S = 120.0
"""Seconds after which a stream that hears nothing of its server any more gives up."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 5.0
# A connection that broke gives no reason. A worker that crashed over a job is not sent the same job again.
_PASSING = {"", "DRAINING", "WORKER_NOT_READY", "STORAGE_UNAVAILABLE"}


class Resume:
    """Takes an interrupted stream up again: after growing, random delays, until nothing was heard for too long.

    A stream that never heard of its server fails at once: the channel has tried some times by then.

    Parameters
    ----------
    begin_after
        Begins the stream behind an event's number.
    after_sequence
        The first such number.
    patience_s
        Seconds without a word of the server after which it gives up.
    """

    def __init__(
        self, begin_after: Callable[[int], Any], after_sequence: int = 0, patience_s: float = PATIENCE_S
    ) -> None:
        self._begin_after = begin_after
        self._sequence = after_sequence
        self._patience_s = patience_s
        self._heard: float | None = None
        self._delay_s = _FIRST_DELAY_S

    def heard(self, event: Event) -> None:
        """Note that an event came."""
        self._sequence = max(self._sequence, event.sequence)
        self._heard = time.monotonic()
        self._delay_s = _FIRST_DELAY_S

    def begin(self) -> Any:
        """Begin the stream behind the last event that came."""
        return self._begin_after(self._sequence)

    def delay_after(self, error: grpc.RpcError | StylizeError) -> float:
        """Seconds to wait before the next attempt.

        Raises
        ------
        StylizeError
            Another attempt makes no sense, or the patience is over.
        """
        told = error if isinstance(error, StylizeError) else from_rpc_error(error)
        is_passing = told.code == "UNAVAILABLE" and told.reason in _PASSING
        if not is_passing or self._heard is None or time.monotonic() - self._heard > self._patience_s:
            raise told from error
        delay = self._delay_s * random.uniform(0.8, 1.2)
        self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
        return delay


class Allowance:
    """The time that a call has in all, however often it is begun; None: no limit of its own.

    Raises
    ------
    OptionError
        It is no time.
    """

    def __init__(self, timeout_s: float | None) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise OptionError("timeout_s", f"{timeout_s:g} is not above 0")
        self._until = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def left_s(self) -> float | None:
        """Seconds that are left, 0 when it is over."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())
