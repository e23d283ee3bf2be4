"""The time left, as it is shown: it counts down between two reports and never rises on its own.

A report that is only a little later than what is shown is noise and changes nothing; a much later one is news.
The live page has the same rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_TOLERATED_RISE = 1.2
_TOLERATED_RISE_S = 2.0


class Eta:
    """The time left of one run.

    Parameters
    ----------
    clock
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end: float | None = None

    def report(self, left_s: float) -> None:
        """Take a report of the time left."""
        shown = self.left_s
        is_noise = shown is not None and shown < left_s <= shown * _TOLERATED_RISE + _TOLERATED_RISE_S
        if not is_noise:
            self._end = self._clock() + left_s

    def reset(self) -> None:
        """Forget all reports: something else begins."""
        self._end = None

    @property
    def left_s(self) -> float | None:
        """Seconds left now; None before the first report."""
        return None if self._end is None else max(0.0, self._end - self._clock())
