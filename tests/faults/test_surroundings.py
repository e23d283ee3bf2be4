"""Disks that are full, databases that are locked, clocks that jump: clear answers meanwhile, and nothing lost."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from pathlib import Path

import grpc
import psutil
import pytest

from clipstyler.v1.options_pb2 import StylizationOptions
from tests.faults.job_audit import JobAudit
from tests.service.harness import eventually, noise_photo, order, reason, refusal
from tests.service.process import ServerProcess

pytestmark = pytest.mark.timeout(600)
DAY_S = 86_400


async def running(server: ServerProcess, name: str) -> None:
    """Wait until a job has made a step."""
    call, events, watching = server.begin_watch(name)
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    call.cancel()
    await asyncio.wait([watching])


def limit_files(front: psutil.Process, size: int) -> None:
    """Limit the size of files that a server's processes may write."""
    for process in (front, *front.children(recursive=True)):
        process.rlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="needs Linux, to limit another process")
async def test_a_disk_that_is_full_when_results_come(launch, scale, figures, tmp_path):
    server = await (await launch()).ready()
    audit = JobAudit(server.settings["data_dir"])
    front = psutil.Process(server.process.pid)
    rounds, reasons = scale(2, 20), set()
    for number in range(rounds):
        gate = tmp_path / f"gate-{number}"
        hit = await audit.create(server, order(f"hold={gate} side=400 hit {number}"))
        await running(server, hit)
        # No file of any process may grow beyond this: the kernel refuses as on a full disk.
        limit_files(front, 100_000)
        status = await refusal(server.create(order("too large to keep", image=noise_photo(300, 200))))
        assert (status.code, reason(status)) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "STORAGE_FULL")
        gate.touch()
        reasons.add((await server.watch(hit)).only("failed")[0].error.reason)
        limit_files(front, resource.RLIM_INFINITY)
        good = await audit.create(server, order(f"side=400 good {number}"))
        assert (await server.watch(good)).kinds()[-1] == "result"
    assert reasons <= {"STORAGE_FULL", "STORAGE_UNAVAILABLE"}
    ends = await audit.holds(server)
    assert (ends["failed"], ends["succeeded"]) == (rounds, rounds)
    figures.update({"times full": rounds, **ends})


async def test_a_database_that_is_locked_when_results_come(launch, scale, figures):
    server = await (await launch()).ready()
    audit = JobAudit(server.settings["data_dir"])
    rounds = scale(1, 10)
    for number in range(rounds):
        name = await audit.create(server, order(f"step=0.05 locked {number}", options=StylizationOptions(steps=8)))
        await running(server, name)
        with sqlite3.connect(audit.data_dir / "jobs.sqlite3") as other:
            other.execute("BEGIN IMMEDIATE")
            status = await refusal(server.create(order("while it is locked")))
            assert reason(status) == "STORAGE_UNAVAILABLE"
            other.rollback()
        assert (await server.watch(name)).kinds()[-1] == "result"
    ends = await audit.holds(server)
    assert ends["succeeded"] == rounds
    figures.update({"locks": rounds, **ends})


async def test_clocks_that_jump_change_no_deadline_and_lose_no_job(launch, scale, figures, tmp_path, monkeypatch):
    clock = tmp_path / "clock"
    monkeypatch.setenv("CLIPSTYLER_CLOCK_FILE", str(clock))
    set_clock(clock, 0)
    server = await (await launch("tests.faults.serve_with_clock")).ready()
    audit = JobAudit(server.settings["data_dir"])
    jumps = [DAY_S, -DAY_S, 0] * int(scale(1, 5))
    for number, offset_s in enumerate(jumps):
        names = [
            await audit.create(server, order(f"step=0.02 {kind} {number}", options=StylizationOptions(steps=20)))
            for kind in ("runs", "waits")
        ]
        await running(server, names[0])
        set_clock(clock, offset_s)
        for name in names:
            outcome = await server.watch(name)
            assert outcome.kinds()[-1] == "result"
            assert [event.sequence for event in outcome.events] == sorted(event.sequence for event in outcome.events)
    ends = await audit.holds(server)
    assert ends["succeeded"] == 2 * len(jumps)
    figures.update({"jumps": len(jumps), **ends})


def set_clock(file: Path, ahead_s: float) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(str(ahead_s))
    fresh.replace(file)
