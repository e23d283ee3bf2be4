"""A signal that something has changed, for whatever looks at it again."""

from __future__ import annotations

import asyncio
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

    async def wait(self) -> None:
        """Wait for a change since the last return."""
        await self._changed.wait()
        self._changed.clear()
