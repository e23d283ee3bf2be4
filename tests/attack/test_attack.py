"""A real server under attack answers every call in its own words, crashes nothing, and works afterwards."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

import pytest

from tests.attack.floods import (
    STEP_S,
    STEPS,
    connections,
    ever_new_names,
    large_jobs_on_a_full_queue,
    one_shots,
)
from tests.attack.images import constructed_photos, constructed_pictures, mutated_photos, mutated_pictures
from tests.attack.measure import SETTLED, Figures, Target, is_long, measure
from tests.attack.outcomes import Tally
from tests.attack.pages import endless_http_requests, many_http_requests, mutated_http_requests
from tests.attack.requests import malformed_calls, mutated_requests, silent_calls
from tests.attack.starvation import KINDS, descriptors, disk, kill_and_freeze, memory
from tests.attack.storms import storm
from tests.attack.streams import (
    everything_held,
    half_open_connections,
    idle_watches,
    silent_reflection,
    slow_readers,
    unfinished_uploads,
    unread_downloads,
)

HELD = [unfinished_uploads, unread_downloads, idle_watches, silent_reflection, slow_readers, half_open_connections]
# Seconds by which the bystander's jobs may start later while calls are held: half of this machine is the attacker's.
HELD_DELAY_S = 0.5
FLOODS = [connections, large_jobs_on_a_full_queue, ever_new_names, one_shots]
pytestmark = [pytest.mark.timeout(1500), pytest.mark.asyncio(loop_scope="module")]

Attack = Callable[[Target, Tally], Awaitable[None]]
# Bytes by which a server that is warm has more than one that has just started.
WARM_BYTES = 24 * 2**20
# Seconds in which the server gives back the memory of ended calls at least once.
GIVEN_BACK_S = 12.0
LONGEST_PAUSE_S = 0.1
NOT_READY_S = 2.0
WORKS_AGAIN_S = 5.0


async def withstand(
    target: Target,
    rows: list[Figures],
    attack: Attack,
    restarts: Collection[str] = (),
    settle_s: float = 0.0,
    logged: str = "",
) -> Figures:
    """Attack, and check what must hold after every attack.

    Parameters
    ----------
    target, rows, attack, settle_s
        As `measure` takes them.
    restarts
        Processes that may be started again.
    logged
        Begin of a log line that may have a traceback, because asyncio writes it.
    """
    figures = await measure(target, rows, attack, settle_s)
    assert target.server.process.returncode is None, "the server ended"
    assert figures.works_after_s is not None, "no job is done after the attack"
    assert dict(figures.tally.unmapped) == {}
    assert dict(figures.tally.unanswered) == {}
    assert [event for event in figures.tracebacks if not (logged and event.startswith(logged))] == []
    assert set(figures.restarts) <= set(restarts)
    for process, peak in figures.watched["processes"]["peak_bytes"].items():
        assert peak < target.most_bytes[process], process
    if is_long():
        assert figures.longest_pause_s <= LONGEST_PAUSE_S
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


@pytest.mark.parametrize("attack", HELD, ids=lambda one: one.__name__)
async def test_held_streams(jobs, rows, attack):
    figures = await withstand(jobs, rows, attack, settle_s=jobs.scale(0, 60))
    if is_long():
        before, after = figures.front_bytes
        assert after <= SETTLED * before


async def test_a_small_job_starts_as_if_no_call_were_held(jobs, rows):
    if is_long():  # its memory is compared with that of a server that knows such calls
        await everything_held(replace(jobs, is_long=False), Tally())
        await asyncio.sleep(GIVEN_BACK_S)
    figures = await withstand(jobs, rows, everything_held, settle_s=jobs.scale(5, 60))
    count = jobs.scale(40 + 40 + 200, 200 + 200 + 2000)
    assert (figures.tally.inputs, figures.tally.notes["held"]) == (count, count)
    alone, beside = figures.tally.notes["jobs alone"], figures.watched["bystander"]["job_started"]
    assert (alone["failures"], beside["failures"]) == ({}, {})
    assert beside["count"] > 0
    assert beside["median_s"] <= alone["median_s"] + HELD_DELAY_S
    before, after = figures.front_bytes
    assert after <= SETTLED * before + jobs.scale(WARM_BYTES, 0)


@pytest.mark.parametrize("attack", FLOODS, ids=lambda one: one.__name__)
async def test_floods(jobs, rows, attack):
    figures = await withstand(jobs, rows, attack)
    if is_long():
        bystander = figures.watched["bystander"]["job_started"]
        assert bystander["failures"] == {}
        # The job that runs when the bystander comes, one more, and as much again for a busy machine.
        assert bystander["longest_s"] < 4 * STEPS * STEP_S


async def test_a_storm_of_calls_about_the_same_jobs(jobs, rows):
    await withstand(jobs, rows, storm)


PAGES = [mutated_http_requests, endless_http_requests, many_http_requests]


@pytest.mark.parametrize("attack", PAGES, ids=lambda one: one.__name__)
async def test_pages_for_monitoring(jobs, rows, attack):
    figures = await withstand(jobs, rows, attack)
    assert figures.tally.answers["200"] + figures.tally.answers["405"] > 0


async def test_killed_and_frozen_children(starved, rows):
    figures = await withstand(starved, rows, kill_and_freeze, restarts=KINDS)
    for what, works_s in figures.tally.notes.items():
        assert works_s < (WORKS_AGAIN_S if is_long() else math.inf), what


async def test_a_server_without_free_descriptors(starved, rows):
    figures = await withstand(starved, rows, descriptors, restarts=KINDS, logged="socket.accept()")
    not_ready_s = figures.tally.notes["not ready after s"]
    assert not_ready_s is not None
    assert not_ready_s < NOT_READY_S
    assert figures.works_after_s < (WORKS_AGAIN_S if is_long() else math.inf)


@pytest.mark.parametrize("attack", [memory, disk], ids=lambda one: one.__name__)
async def test_no_space(starved, rows, attack):
    await withstand(starved, rows, attack, restarts=KINDS)
