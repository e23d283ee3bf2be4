"""A signal that something has changed, for one task that looks at it again."""

from __future__ import annotations

import asyncio


class ChangeSignal:
    """Wakes the waiting task; notifications meanwhile are joined into one."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Signal a change."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait for a change since the last return."""
        await self._changed.wait()
        self._changed.clear()
