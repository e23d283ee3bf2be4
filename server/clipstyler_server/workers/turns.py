"""Work that a process does not give up when its caller leaves, and that counts as the caller's until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from clipstyler_server.sharing import Lease

_Value = TypeVar("_Value")


async def see_through(work: Coroutine[Any, Any, _Value]) -> _Value:
    """Await work that cannot be interrupted: a caller that leaves does so once it is done, however it ended."""
    task = asyncio.create_task(work)
    task.add_done_callback(_retrieve)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def finish(work: Coroutine[Any, Any, _Value], lease: Lease) -> _Value:
    """Await work that goes on when its caller leaves; the lease is released when it is done, however it ends."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: lease.release())
    task.add_done_callback(_retrieve)
    return await asyncio.shield(task)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the outcome in case the caller has left."""
    if not task.cancelled():
        task.exception()
