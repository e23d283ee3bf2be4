"""Memory of ended calls is freed without stopping the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from unittest.mock import MagicMock

import pytest
from clipstyler_server.observability import watchdog


@pytest.mark.asyncio
@pytest.mark.parametrize(("calls", "generation"), [(0, 2), (500, 2), (501, 1), (10_000, 1)])
async def test_all_objects_are_looked_at_while_few_calls_hold_any(
    monkeypatch: pytest.MonkeyPatch, calls: int, generation: int
) -> None:
    collected: asyncio.Queue[int] = asyncio.Queue()
    monkeypatch.setattr(watchdog, "_TRIM_EVERY_S", 0.0)
    monkeypatch.setattr(watchdog.gc, "collect", collected.put_nowait)
    watching = asyncio.create_task(watchdog.Watchdog(MagicMock(), lambda: calls).watch_loop())
    assert await asyncio.wait_for(collected.get(), 5) == generation
    watching.cancel()


STARTED = """
import gc
from clipstyler_server.observability.watchdog import collect_only_young_objects
class Node: pass
collect_only_young_objects()
frozen, old = gc.get_freeze_count(), gc.get_stats()[2]["collections"]
kept = []
for _ in range(200_000): kept.append(Node())
print(frozen > 10_000, gc.get_stats()[1]["collections"] > 10, gc.get_stats()[2]["collections"] - old)
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collects old objects in small steps by itself")
def test_a_started_server_looks_at_old_objects_only_when_it_is_told_to() -> None:
    found = subprocess.run([sys.executable, "-c", STARTED], check=True, capture_output=True, text=True).stdout
    assert found.split() == ["True", "True", "0"]
