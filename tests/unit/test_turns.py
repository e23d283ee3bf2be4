"""Work that outlasts its caller: nothing that it raises goes unseen, and nothing that it writes is left behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from clipstyler_server.workers.turns import see_through


async def _fails_when(may_end: asyncio.Event) -> None:
    await may_end.wait()
    raise ValueError("broken")


async def test_who_stays_gets_what_the_work_raises() -> None:
    may_end = asyncio.Event()
    may_end.set()
    with pytest.raises(ValueError, match="broken"):
        await see_through(_fails_when(may_end))


async def test_who_leaves_waits_for_the_end_and_nobody_hears_of_its_failure() -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    may_end = asyncio.Event()
    leaving = asyncio.create_task(see_through(_fails_when(may_end)))
    await asyncio.sleep(0)
    leaving.cancel()
    _, pending = await asyncio.wait([leaving], timeout=0.05)
    assert pending
    may_end.set()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    del leaving, pending
    gc.collect()
    assert unseen == []
