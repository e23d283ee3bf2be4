"""Servers that share a database are killed, stopped, cut off and given wrong clocks: no job is lost or run twice."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import rolling_restart
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.faults.database_relay import database_relay
from tests.faults.job_audit import JobAudit
from tests.service.databases import postgres, rows
from tests.service.harness import eventually, order, photo
from tests.service.process import ServerProcess
from tests.service.turns import Turns

pytestmark = pytest.mark.timeout(2400)
LEASE_S = 4.0


@pytest.fixture(scope="module")
def create_database() -> Iterator:
    with postgres() as create:
        yield create


@pytest.fixture
def shared(create_database, tmp_path) -> dict[str, object]:
    """Settings of servers on one fresh database."""
    return {"database_url": create_database(), "shared_dir": str(tmp_path / "shared"), "lease_s": LEASE_S}


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder with a short name, as sockets need."""
    folder = Path(tempfile.mkdtemp(prefix="relay-"))
    yield folder
    shutil.rmtree(folder)


def steps(count: int) -> StylizationOptions:
    return StylizationOptions(steps=count)


def taken_over(server: ServerProcess) -> list[dict]:
    return [line for line in server.lines if line["event"] == "job_taken_over"]


async def test_either_server_killed_at_random_points_loses_and_doubles_no_job(launch, shared, scale, figures):
    chance = random.Random(19)
    servers = [await (await launch(**shared)).ready() for _ in range(2)]
    audit = JobAudit(str(shared["shared_dir"]), str(shared["database_url"]))
    kills = int(scale(5, 50))
    for number in range(kills):
        victim, other = chance.sample((0, 1), 2)
        asked = [order(f"step=0.03 {number} {part}", options=steps(chance.randint(5, 25))) for part in range(2)]
        creating = [
            asyncio.create_task(audit.create(servers[index], each))
            for index, each in zip((victim, other), asked, strict=True)
        ]
        await asyncio.sleep(chance.uniform(0, 0.8))
        servers[victim].process.kill()
        await servers[victim].process.wait()
        await asyncio.gather(*creating)
        for each in asked:
            assert await audit.create(servers[other], each)  # what the killed one had accepted is there
        await audit.note_ends(servers[other])
        data_dir = servers[victim].settings["data_dir"]
        servers[victim] = await (await launch(**shared, data_dir=data_dir)).ready()
    ends = await audit.holds(servers[0])
    jobs = await audit.note_ends(servers[1])
    failed = [job for job in jobs if job.state == Stylization.STATE_FAILED]
    assert all(job.error.reason == "SERVER_RESTARTED" for job in failed)  # twice in the wrong place
    assert max(job.attempt_count for job in jobs) <= 2
    assert (ends["lost"], ends["twice"]) == (0, 0)
    figures.update({"kills": kills, **ends})


async def test_the_job_of_a_killed_server_is_taken_over_when_its_lease_ends(launch, shared, figures, tmp_path):
    turns = Turns(tmp_path)
    turns.allow(2)
    first = await (await launch(**shared)).ready()
    created = await first.create(order(f"turns={turns.path} x", options=steps(8)))
    second = await (await launch(**shared)).ready()
    _, events, watching = second.begin_watch(created.name)
    await eventually(lambda: any(event.progress.step == 2 for event in events))
    first.process.kill()
    begun = time.monotonic()
    await eventually(lambda: taken_over(second))
    seconds = time.monotonic() - begun
    turns.allow(8)
    outcome = await watching

    assert outcome.kinds()[-1] == "result"
    assert any(gap.log_expired for gap in outcome.only("gap"))
    numbers = [event.sequence for event in outcome.events]
    assert numbers == sorted(numbers)
    assert (await second.get(created.name)).attempt_count == 2
    assert seconds < 1.25 * LEASE_S + 3  # and what a busy machine takes
    figures["taken over after s"] = round(seconds, 2)


async def test_a_server_cut_off_from_the_database_stops_its_job_before_another_one_begins_it(
    launch, shared, figures, tmp_path, socket_folder
):
    trace, turns = tmp_path / "trace", Turns(tmp_path)
    turns.allow(2)
    async with database_relay(str(shared["database_url"]), socket_folder) as relay:
        cut_off = await (await launch(**(shared | {"database_url": relay.url}))).ready()
        created = await cut_off.create(order(f"turns={turns.path} trace={trace} x", options=steps(8)))
        await eventually(lambda: trace.exists() and "step 3" in trace.read_text())
        other = await (await launch(**shared)).ready()
        relay.cut()
        begun = time.monotonic()
        await eventually(lambda: "closed" in trace.read_text())
        stopped_s = time.monotonic() - begun
        turns.allow(8)
        await eventually(lambda: taken_over(other))
        outcome = await other.watch(created.name)
        relay.heal()
        await eventually(lambda: sum(line["event"] == "lease_taken" for line in cut_off.lines) == 2)
        again = await cut_off.create(order("again"))
        assert (await cut_off.watch(again.name)).kinds()[-1] == "result"

    assert outcome.kinds()[-1] == "result"
    assert cut_off.line("lease_lost")["jobs"] == [created.name.removeprefix("stylizations/")]
    assert stopped_s < LEASE_S
    # One run after the other: the first one ends before the second one begins.
    lines = [f"step {number}" for number in range(1, 9)]
    assert trace.read_text().splitlines() == [*lines[:3], "closed", *lines, "closed"]
    query = f"SELECT state, attempts FROM stylizations WHERE id = '{created.name.removeprefix('stylizations/')}'"
    assert rows(str(shared["database_url"]), query) == [("succeeded", 2)]
    figures["stopped after s"] = round(stopped_s, 2)


async def test_wrong_clocks_change_nothing(launch, shared, tmp_path, monkeypatch):
    servers = []
    for number, ahead_s in enumerate((0, 86_400)):
        clock = tmp_path / f"clock-{number}"
        clock.write_text(str(ahead_s))
        monkeypatch.setenv("CLIPSTYLER_CLOCK_FILE", str(clock))
        servers.append(await (await launch("tests.faults.serve_with_clock", **shared, retention_s=3600)).ready())
    orders = [order(f"step=0.2 number {number}", options=steps(5)) for number in range(6)]
    created = [await servers[number % 2].create(asked) for number, asked in enumerate(orders)]
    for number, job in enumerate(created):
        assert (await servers[number % 2].watch(job.name)).kinds()[-1] == "result"
    await asyncio.sleep(2)  # some runs of retention, on both
    jobs = [await servers[0].get(job.name) for job in created]
    now = time.time()
    assert all(abs(job.create_time.ToSeconds() - now) < 600 for job in jobs)
    assert all(abs(job.end_time.ToSeconds() - now) < 600 for job in jobs)
    assert {job.attempt_count for job in jobs} == {1}
    assert [
        line for server in servers for line in server.lines if line["event"].startswith(("job_taken", "lease_l"))
    ] == []
    for job in created:
        assert (await servers[1].image(job.name))[1]


async def test_photos_survive_while_servers_store_and_delete_the_same_ones(launch, shared, scale):
    servers = [await (await launch(**shared, caller_share=1, queue_capacity=500)).ready() for _ in range(2)]

    async def create_and_delete(server: ServerProcess, count: int) -> None:
        for _ in range(count):
            job = await server.create(order("the same", image=photo(90), options=steps(1)))
            assert (await server.watch(job.name)).kinds()[-1] == "result"
            assert (await server.image(job.name))[1]
            await server.delete(job.name)

    await asyncio.gather(*(create_and_delete(server, int(scale(10, 200))) for server in servers for _ in range(2)))


def test_a_rolling_restart_of_servers_that_share_jobs_fails_no_call_and_loses_and_doubles_no_job(scale):
    outcome = rolling_restart.run(calls=int(scale(200, 5000)), callers=4, shared=True)
    assert outcome.failures == {}
    assert outcome.is_clean
    assert outcome.restarts == 2
