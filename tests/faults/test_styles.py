"""Servers and workers that are killed while styles are created, uploaded, applied and deleted."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections import Counter

import pytest

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.faults.job_audit import JobAudit
from tests.faults.style_audit import StyleAudit
from tests.faults.test_processes import optimizer_of
from tests.service.harness import eventually, order
from tests.service.process import ServerProcess
from tests.service.styles import style_file

pytestmark = pytest.mark.timeout(2400)
_KEPT = 6  # of more, those above are deleted
_STRIKES = ("server killed", "optimizer killed", "server restarted", *["optimizer killed"] * 3)


async def a_finished_job(server: ServerProcess, audit: JobAudit, number: int) -> tuple[str, str]:
    """A job that has kept a style, and the name of that style."""
    text, seed = f"look {number}", 1000 + number
    options = StylizationOptions(steps=1, seed=seed, keep_style=True)
    name = await audit.create(server, order(text, options=options))
    assert (await server.watch(name)).kinds()[-1] == "result"
    return name, f"styles/{hashlib.sha256(style_file(text, seed)).hexdigest()}"


async def strike(launch, server: ServerProcess, how: str) -> ServerProcess:
    """Kill the optimizer or the server, or restart the server in an orderly way; returns the server that is ready."""
    if how == "optimizer killed":
        worker = await optimizer_of(server)
        ready = sum(line["event"] == "worker_ready" for line in server.lines)
        worker.kill()
        await eventually(lambda: sum(line["event"] == "worker_ready" for line in server.lines) > ready)
        return server
    if how == "server killed":
        server.process.kill()
    else:
        server.process.terminate()
    await server.process.wait()
    return await (await launch(data_dir=server.settings["data_dir"])).ready()


async def test_styles_outlast_kills_at_random_points(launch, scale, figures):
    chance, struck = random.Random(7), Counter[str]()
    server = await (await launch()).ready()
    jobs, styles = JobAudit(server.settings["data_dir"]), StyleAudit(server.settings["data_dir"])
    await styles.upload(server, 1)
    for number, how in zip(range(scale(3, 256)), itertools.cycle(_STRIKES), strict=False):
        job, made = await a_finished_job(server, jobs, number)
        chosen = chance.choice(styles.kept)
        unused = [name for name in styles.kept if name != chosen]
        fitting = asyncio.create_task(styles.fit(server, 20_000 + number))
        at_work = [
            asyncio.create_task(styles.upload(server, 10_000 + number)),
            asyncio.create_task(styles.create(server, job, made)),
            asyncio.create_task(styles.apply(server, chosen, [chance.randint(64, 400) for _ in range(4)])),
        ]
        for name in chance.sample(unused, max(0, len(unused) - _KEPT)):
            at_work.append(asyncio.create_task(styles.delete(server, name)))
        await asyncio.sleep(chance.uniform(0, 0.25))
        server = await strike(launch, server, how)
        await asyncio.gather(*at_work)
        asked = await fitting
        jobs.accepted[asked.request_id] = await styles.fit_again(server, asked)
        struck[how] += 1
        await styles.check(server)
    kept = await jobs.holds(server)
    figures.update(struck | await styles.holds(server, await jobs.note_ends(server)))
    figures.update({name: kept.get(name, 0) for name in ("jobs", "succeeded", "failed", "lost", "twice", "files")})
    failed = [job for job in await jobs.note_ends(server) if job.state == Stylization.STATE_FAILED]
    assert {job.error.reason for job in failed} <= {"WORKER_CRASHED", "SERVER_RESTARTED"}
