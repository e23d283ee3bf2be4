"""The calls that are open: a server that stops gives them time, and ends those that are left by a clear error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clipstyler_server.jobs.job_errors import draining_error

FAREWELL_S = 2.0  # for last messages to reach their readers
_PAUSE_S = 0.02


class OpenCalls:
    """The calls of a server, by the tasks that answer them."""

    def __init__(self) -> None:
        self._at_work: dict[asyncio.Task[None], Callable[[], bool]] = {}
        self._is_ended = False

    @contextmanager
    def entered(self, at_work: Callable[[], bool]) -> Iterator[None]:
        """Count the current task as a call for the duration of the block.

        Parameters
        ----------
        at_work
            Returns whether the call does something that its caller waits for.

        Raises
        ------
        ServiceError
            DRAINING: `end` was called, before or meanwhile.
        """
        if self._is_ended:
            raise draining_error()
        task = asyncio.current_task()
        assert task is not None
        self._at_work[task] = at_work
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_ended:
                raise
            task.uncancel()
            raise draining_error() from None
        finally:
            del self._at_work[task]

    async def finish(self, left_s: Callable[[], float]) -> None:
        """Wait until the calls that are open now are not at work any more, or no time is left.

        Parameters
        ----------
        left_s
            Returns the seconds that are left; last messages have 2 s from now in any case.
        """
        begun, least = set(self._at_work), time.monotonic() + FAREWELL_S
        while any(self._at_work[task]() for task in begun & self._at_work.keys()):
            if left_s() <= 0 and time.monotonic() >= least:
                return
            await asyncio.sleep(_PAUSE_S)

    def end(self) -> None:
        """End all calls, and those that still come, with DRAINING."""
        self._is_ended = True
        for task in self._at_work:
            task.cancel()
