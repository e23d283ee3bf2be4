"""Signals that something has changed: for whatever looks at it again, and for many tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class ChangeSignal:
    """Wakes the waiting task, whose notifications meanwhile are joined into one, and calls the followers each time."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._followers: list[Callable[[], None]] = []

    def follow(self, call: Callable[[], None]) -> None:
        """Have a function called at each change."""
        self._followers.append(call)

    def notify(self) -> None:
        """Signal a change."""
        self._changed.set()
        for call in self._followers:
            call()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait for a change since the last return, but no longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        self._changed.clear()


class Broadcast:
    """Wakes every waiting task."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Signal a change."""
        self._next.set()
        self._next = asyncio.Event()

    def upcoming(self) -> asyncio.Event:
        """Return what the next change sets: asked for before a look, it misses nothing after it."""
        return self._next
