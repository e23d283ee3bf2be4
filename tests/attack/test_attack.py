"""A real server under attack answers every call in its own words, crashes nothing, and works afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

import pytest

from tests.attack.images import constructed_photos, constructed_pictures, mutated_photos, mutated_pictures
from tests.attack.measure import Figures, Target, measure
from tests.attack.outcomes import Tally
from tests.attack.requests import malformed_calls, mutated_requests, silent_calls

pytestmark = [pytest.mark.timeout(1500), pytest.mark.asyncio(loop_scope="module")]

Attack = Callable[[Target, Tally], Awaitable[None]]
MIB = 2**20
LONGEST_PAUSE_S = 0.1
FRONT_BYTES = 400 * MIB


async def withstand(
    target: Target, rows: list[Figures], attack: Attack, restarts: Collection[str] = (), settle_s: float = 0.0
) -> Figures:
    """Attack, and check what must hold after every attack; processes in `restarts` may be started again."""
    figures = await measure(target, rows, attack, settle_s)
    assert target.server.process.returncode is None, "the server ended"
    assert figures.works_after_s is not None, "no job is done after the attack"
    assert dict(figures.tally.unmapped) == {}
    assert dict(figures.tally.unanswered) == {}
    assert dict(figures.tracebacks) == {}
    assert set(figures.restarts) <= set(restarts)
    if target.is_long:
        assert figures.longest_pause_s <= LONGEST_PAUSE_S
        assert figures.watched["processes"]["peak_bytes"]["front"] < FRONT_BYTES
    return figures


@pytest.mark.parametrize("attack", [mutated_requests, malformed_calls, silent_calls], ids=lambda one: one.__name__)
async def test_requests(encoders, rows, attack):
    await withstand(encoders, rows, attack)


@pytest.mark.parametrize("attack", [mutated_photos, constructed_photos], ids=lambda one: one.__name__)
async def test_photos(jobs, rows, attack):
    await withstand(jobs, rows, attack, restarts={"decoder"})


@pytest.mark.parametrize("attack", [mutated_pictures, constructed_pictures], ids=lambda one: one.__name__)
async def test_pictures(encoders, rows, attack):
    await withstand(encoders, rows, attack, restarts={"decoder"})
