"""Devices and nodes that are killed take nothing along but what they were working on, and of nodes not even that."""

from __future__ import annotations

import asyncio
import random

import psutil
import pytest

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2 import CreateStylizationRequest
from tests.engines.conftest import CPUS_PER_NODE, add_node, cluster  # noqa: F401 - a fixture
from tests.faults.job_audit import JobAudit
from tests.service.harness import eventually, order
from tests.service.process import ServerProcess

pytestmark = pytest.mark.timeout(5400)

DEVICES = 3
EVERYTHING = {"queue_capacity": 1000, "caller_share": 1}  # what kills delay may wait


def optimizers(server: ServerProcess) -> list[int]:
    """Processes of the optimizers that took up their work and still run."""
    latest = {line["name"]: line["pid"] for line in server.lines if line["event"] == "worker_ready"}
    return [pid for pid in latest.values() if psutil.pid_exists(pid)]


async def accepted(server: ServerProcess, audit: JobAudit, asked: CreateStylizationRequest) -> None:
    """Create a job; the server refuses it while no device is there."""
    while not await audit.create(server, asked):
        await asyncio.sleep(0.2)


async def test_devices_killed_at_random_points_lose_only_their_own_jobs(launch, scale, figures):
    chance, kills = random.Random(13), scale(3, 100)
    twenty_steps = StylizationOptions(steps=20)
    server = await (await launch(devices=f"cpu*{DEVICES}", **EVERYTHING)).ready()
    await eventually(lambda: len(optimizers(server)) == DEVICES)
    audit = JobAudit(server.settings["data_dir"])
    for number in range(kills):
        for job in range(DEVICES):
            await accepted(server, audit, order(f"step=0.02 kill {number} job {job}", options=twenty_steps))
        await asyncio.sleep(chance.uniform(0, 0.5))
        psutil.Process(chance.choice(await eventually(lambda: optimizers(server)))).kill()
        await audit.note_ends(server)
    ends = await audit.holds(server)
    assert ends["succeeded"] + ends.get("failed", 0) == DEVICES * kills
    assert ends.get("failed", 0) <= kills
    failed = [job for job in await audit.note_ends(server) if job.state == Stylization.STATE_FAILED]
    assert {job.error.reason for job in failed} <= {"WORKER_CRASHED"}
    await eventually(lambda: len(optimizers(server)) == DEVICES)
    figures.update({"kills": kills, **ends})


@pytest.mark.long_only  # tests/engines kills one
async def test_nodes_killed_one_after_the_other_lose_no_job(launch, figures, cluster):  # noqa: F811 - a fixture
    chance, kills, nodes = random.Random(17), 100, cluster
    server = await (await launch(engine="ray", ray_address=nodes.address, devices="cpu*2", **EVERYTHING)).ready()
    await eventually(lambda: len(optimizers(server)) == 2)
    audit = JobAudit(server.settings["data_dir"])
    for number in range(kills):
        for job in range(2):
            asked = order(f"step=0.05 kill {number} job {job}", options=StylizationOptions(steps=40))
            await accepted(server, audit, asked)
        await asyncio.sleep(chance.uniform(0, 2))
        node = chance.choice(sorted(nodes.worker_nodes, key=lambda node: node.node_id))
        # Not on another thread, where Ray cannot set its signals.
        nodes.remove_node(node, allow_graceful=False)
        add_node(nodes, num_cpus=CPUS_PER_NODE)
        await audit.note_ends(server)
    ends = await audit.holds(server)
    # Only a job whose second node was lost too may fail.
    failed = [job for job in await audit.note_ends(server) if job.state == Stylization.STATE_FAILED]
    assert {(job.error.reason, job.attempt_count) for job in failed} <= {("WORKER_CRASHED", 2)}
    assert ends["succeeded"] + len(failed) == 2 * kills
    figures.update({"kills": kills, **ends})
