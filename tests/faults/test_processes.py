"""Processes that are killed, frozen and started again lose nothing that was promised."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import signal
import statistics
import sys
import time
from asyncio.subprocess import PIPE

import psutil
import pytest

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.faults.job_audit import JobAudit
from tests.service.harness import eventually, order, photo
from tests.service.process import ServerProcess

pytestmark = pytest.mark.timeout(1200)


def steps(count: int) -> StylizationOptions:
    return StylizationOptions(steps=count)


async def optimizer_of(server: ServerProcess) -> psutil.Process:
    """The optimizer that took up its work last."""
    await eventually(lambda: server.line("worker_ready"))
    return psutil.Process([line["pid"] for line in server.lines if line["event"] == "worker_ready"][-1])


async def begin_client(server: ServerProcess, kind: str, text: str, count: int) -> asyncio.subprocess.Process:
    """Start a client and wait until it sees work."""
    target = server.line("server_ready")["grpc"]
    program = (sys.executable, "-m", "tests.faults.watcher", target, kind, text, str(count))
    client = await asyncio.create_subprocess_exec(*program, stdout=PIPE)
    assert await asyncio.wait_for(client.stdout.readline(), 60) == b"working\n"
    return client


async def test_a_server_killed_at_random_points_loses_no_job(launch, scale, figures):
    chance, restarts = random.Random(11), []
    server = await (await launch()).ready()
    data_dir = server.settings["data_dir"]
    audit = JobAudit(data_dir)
    for number in range(scale(4, 50)):
        asked = order(f"step=0.03 number {number}", options=steps(chance.randint(5, 25)), image=photo(90 + number))
        creating = asyncio.create_task(audit.create(server, asked))
        await asyncio.sleep(chance.uniform(0, 0.8))
        server.process.kill()
        await server.process.wait()
        await creating
        begun = time.monotonic()
        server = await (await launch(data_dir=data_dir)).ready()
        restarts.append(time.monotonic() - begun)
        assert await audit.create(server, asked)
        await audit.note_ends(server)
    figures.update({"kills": len(restarts), **await audit.holds(server)})
    # A job that was at work under two servers that were killed is not run a third time.
    failed = [job for job in await audit.note_ends(server) if job.state == Stylization.STATE_FAILED]
    assert all((job.error.reason, job.attempt_count) == ("SERVER_RESTARTED", 2) for job in failed)
    figures["ready again after, median s"] = round(statistics.median(restarts), 2)


async def test_a_killed_client_ends_its_call_and_no_durable_job(launch, scale, figures, tmp_path):
    chance = random.Random(5)
    server = await (await launch()).ready()
    audit = JobAudit(server.settings["data_dir"])
    rounds = scale(2, 20)
    for number in range(rounds):
        trace = tmp_path / f"trace-{number}"
        call = await begin_client(server, "call", f"step=0.02 trace={trace}", 500)
        await asyncio.sleep(chance.uniform(0, 0.5))
        call.kill()
        await eventually(lambda number=number: stopped(server) == number + 1)
        assert "step 500" not in trace.read_text()
        job = await begin_client(server, "job", "step=0.02 durable", 40)
        await asyncio.sleep(chance.uniform(0, 0.5))
        job.kill()
        await asyncio.gather(call.wait(), job.wait())
    after = [line["steps_after_cancel"] for line in server.lines if line["event"] == "job_stopped"]
    assert max(after) <= 1
    ends = await audit.all_over(server)
    assert ends == {"succeeded": rounds, "cancelled": rounds}
    figures.update({"clients killed": 2 * rounds, **ends, "most steps after the end of a call": max(after)})
    await audit.no_orphans()


def stopped(server: ServerProcess) -> int:
    return sum(line["event"] == "job_stopped" for line in server.lines)


async def test_a_watcher_frozen_for_a_long_time_gets_the_end_and_affects_no_other(launch, scale, figures):
    pause_s = scale(3, 60)
    server = await (await launch()).ready()
    audit = JobAudit(server.settings["data_dir"])
    front = psutil.Process(server.process.pid)
    count = int(pause_s / 0.2)
    frozen = await begin_client(server, "job", "step=0.2 side=512 x", count)
    (job,) = await audit.note_ends(server)
    before = front.memory_info().rss
    begun = time.monotonic()
    frozen.send_signal(signal.SIGSTOP)
    watched = await asyncio.wait_for(watch_to_end(server, job.name), pause_s + 60)
    await asyncio.sleep(max(0, begun + pause_s - time.monotonic()))
    grown = front.memory_info().rss - before
    frozen.send_signal(signal.SIGCONT)
    told = json.loads(await asyncio.wait_for(frozen.stdout.read(), 90))

    assert await frozen.wait() == 0
    assert told["image"] == watched
    assert told["events"]["Result"] == 1
    assert grown < 64 * 2**20
    figures.update(
        {"frozen for s": pause_s, "front grew by MiB": round(grown / 2**20, 1), "frozen got": told["events"]}
    )
    await audit.holds(server)


async def watch_to_end(server: ServerProcess, name: str) -> str:
    """Watch as an ordinary client; returns the digest of the image it got."""
    _, _, watching = server.begin_watch(name)
    outcome = await watching
    assert outcome.kinds()[-1] == "result"
    data = b"".join(chunk.data for chunk in outcome.only("chunk")) or outcome.result.image_data
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_worker_at_random_points(launch, scale, figures, how):
    chance = random.Random(3)
    server = await (await launch(stall_timeout_s=1.0)).ready()
    audit = JobAudit(server.settings["data_dir"])
    rounds, reasons = scale(2, 8), []  # the delay before a restart doubles each time
    for number in range(rounds):
        hit = await audit.create(server, order(f"step=0.03 hit {number}", options=steps(100)))
        queued = await audit.create(server, order(f"queued {number}"))
        await asyncio.sleep(chance.uniform(0, 0.6))
        (await optimizer_of(server)).send_signal(how)
        reasons.append((await server.watch(hit)).only("failed")[0].error.reason)
        assert (await server.watch(queued)).kinds()[-1] == "result"
    assert set(reasons) == {"WORKER_CRASHED"}
    ends = await audit.holds(server)
    assert (ends["failed"], ends["succeeded"]) == (rounds, rounds)
    figures.update({"workers lost": rounds, **ends})


async def test_the_real_optimizer_and_its_server_are_killed(launch, figures):
    settings = {"encoder_sets": "pocket", "nice": 0}
    server = await (await launch("clipstyler_server", **settings)).ready()
    audit = JobAudit(server.settings["data_dir"])
    look = {"size": 64, "patches": 2}
    wanted = await audit.create(server, order("fire", options=StylizationOptions(steps=8, **look)))
    whole = (await server.watch(wanted)).result.result.image.sha256

    crashed = await audit.create(server, order("gold", options=StylizationOptions(steps=500, **look)))
    again = await audit.create(server, order("fire", options=StylizationOptions(steps=8, **look)))
    await first_step(server, crashed)
    (await optimizer_of(server)).kill()
    assert (await server.watch(crashed)).only("failed")[0].error.reason == "WORKER_CRASHED"
    assert (await server.watch(again)).result.result.image.sha256 == whole

    interrupted = await audit.create(server, order("fire", options=StylizationOptions(steps=24, **look)))
    await first_step(server, interrupted)
    server.process.kill()
    await server.process.wait()
    server = await (await launch("clipstyler_server", data_dir=server.settings["data_dir"], **settings)).ready()
    resumed = (await server.watch(interrupted)).result.result.image.sha256
    undisturbed = await audit.create(server, order("fire", options=StylizationOptions(steps=24, **look)))
    assert (await server.watch(undisturbed)).result.result.image.sha256 == resumed
    assert [(await server.get(name)).state for name in (crashed, interrupted)] == [
        Stylization.STATE_FAILED,
        Stylization.STATE_SUCCEEDED,
    ]
    figures.update({"kills": 2, **await audit.holds(server)})


async def first_step(server: ServerProcess, name: str) -> None:
    call, events, watching = server.begin_watch(name)
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
