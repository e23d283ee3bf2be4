"""When an interrupted watch is taken up again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import grpc

from clipstyler_client.errors import from_rpc_error
from clipstyler_client.events import Event

WATCH_PATIENCE_S = 120.0
"""Seconds after which a watch that hears nothing of its server gives up."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 5.0


class Resume:
    """Takes an interrupted watch up again: after growing, a little random delays, until nothing was heard for too long.

    Parameters
    ----------
    watch_after
        Begins to watch behind an event's number.
    after_sequence
        The first such number.
    patience_s
        Seconds without a word of the server after which it gives up.
    """

    def __init__(self, watch_after: Callable[[int], Any], after_sequence: int, patience_s: float) -> None:
        self._watch_after = watch_after
        self._sequence = after_sequence
        self._patience_s = patience_s
        self._rest()

    def heard(self, event: Event) -> None:
        """Note that an event came."""
        self._sequence = max(self._sequence, event.sequence)
        self._rest()

    def _rest(self) -> None:
        self._heard = time.monotonic()
        self._delay_s = _FIRST_DELAY_S

    def begin(self) -> Any:
        """Watch behind the last event that came."""
        return self._watch_after(self._sequence)

    def delay_after(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next attempt.

        Raises
        ------
        StylizeError
            Another attempt makes no sense, or the patience is over.
        """
        if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() - self._heard > self._patience_s:
            raise from_rpc_error(error) from error
        delay = self._delay_s * random.uniform(0.8, 1.2)
        self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
        return delay
