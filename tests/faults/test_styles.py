"""Servers and workers that are killed while styles are created, uploaded, applied and deleted."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from clipstyler.v1.options_pb2 import StylizationOptions
from tests.faults.job_audit import JobAudit
from tests.faults.style_audit import StyleAudit
from tests.faults.test_processes import optimizer_of
from tests.service.harness import eventually, order
from tests.service.process import ServerProcess
from tests.service.styles import style_file

pytestmark = pytest.mark.timeout(2400)
_KEPT = 6  # of more, some are deleted


async def a_finished_job(server: ServerProcess, audit: JobAudit, number: int) -> tuple[str, str]:
    """A job that has kept a style, and the name of that style."""
    text, seed = f"look {number}", 1000 + number
    options = StylizationOptions(steps=1, seed=seed, keep_style=True)
    name = await audit.create(server, order(text, options=options))
    assert (await server.watch(name)).kinds()[-1] == "result"
    return name, f"styles/{hashlib.sha256(style_file(text, seed)).hexdigest()}"


async def strike(launch, server: ServerProcess, chance: random.Random) -> tuple[str, ServerProcess]:
    """Kill the optimizer or the server, or restart the server in an orderly way; returns what was done."""
    how = chance.choice(["server killed", "server killed", "server restarted", "optimizer killed"])
    if how == "optimizer killed":
        worker = await optimizer_of(server)
        ready = sum(line["event"] == "worker_ready" for line in server.lines)
        worker.kill()
        await eventually(lambda: sum(line["event"] == "worker_ready" for line in server.lines) > ready)
        return how, server
    if how == "server killed":
        server.process.kill()
    else:
        server.process.terminate()
    await server.process.wait()
    return how, await (await launch(data_dir=server.settings["data_dir"])).ready()


async def test_styles_outlast_kills_at_random_points(launch, scale, figures):
    chance = random.Random(7)
    server = await (await launch()).ready()
    jobs, styles = JobAudit(server.settings["data_dir"]), StyleAudit(server.settings["data_dir"])
    struck: dict[str, int] = {}
    await styles.upload(server, 1)
    for number in range(scale(5, 256)):
        job, made = await a_finished_job(server, jobs, number)
        chosen = chance.choice(styles.kept)
        calls = [
            styles.upload(server, 10_000 + number),
            styles.create(server, job, made),
            styles.apply(server, chosen, [chance.randint(64, 400) for _ in range(4)]),
        ]
        unused = [name for name in styles.kept if name != chosen]
        calls += [styles.delete(server, chance.choice(unused))] if len(unused) >= _KEPT else []
        at_work = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(chance.uniform(0, 0.25))
        how, server = await strike(launch, server, chance)
        await asyncio.gather(*at_work)
        struck[how] = struck.get(how, 0) + 1
        await styles.check(server)
    figures.update(struck | styles.figures())
    kept = await jobs.holds(server)
    figures.update({name: kept[name] for name in ("jobs", "succeeded", "lost", "twice", "files")})
    assert kept["succeeded"] == kept["jobs"]
