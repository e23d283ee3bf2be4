"""What a supervisor keeps alive, wherever it runs: a process of this machine, or an actor on another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol


class Child(Protocol):
    """A worker from its start to its end, and the connection to it."""

    @property
    def ended(self) -> asyncio.Event:
        """Set when it has ended."""
        ...

    @property
    def pid(self) -> int | None:
        """Process id; None before the start."""
        ...

    @property
    def lost_with_machine(self) -> bool:
        """Whether it ended because its machine did, and not by what it was doing."""
        ...

    async def start(self) -> None:
        """Start it. It is ready when it reports so.

        Raises
        ------
        OSError, RuntimeError
            It cannot be started now.
        """
        ...

    def send(self, message: object) -> None:
        """Send a message; it is dropped if the worker has ended."""
        ...

    def kill(self) -> None:
        """Kill it; `ended` follows."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...

    def describe_end(self) -> str:
        """Describe how it ended, for people."""
        ...


MakeChild = Callable[[Callable[[Any], None]], Child]
"""Makes a worker that is not started yet; its argument is called on the event loop with each message of the worker."""
