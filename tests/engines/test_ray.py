"""A server whose optimizers are actors of a Ray cluster with two nodes: spread, lost, cut off, and asked for."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from clipstyler_server.workers.cluster.connection import ClusterConnection

from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.engines.conftest import CPUS_PER_NODE, add_node
from tests.service import scripted
from tests.service.conftest import start
from tests.service.harness import Harness, eventually, order

# A cluster takes long to start on a busy machine.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

LEASE_S = 2.0
LOST_NODE_S = 60.0
"""Until Ray says that a node is dead, and its actor is placed again."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(cluster_address: str) -> AsyncIterator[Harness]:
    harness = await start(scripted.make, engine="ray", ray_address=cluster_address, devices="cpu*2")
    await eventually(lambda: harness.app.optimizers.ready_count == 2, LOST_NODE_S)
    yield harness
    await harness.stop()


@pytest.fixture
def server(shared: Harness) -> Harness:
    shared.count_from_here()
    return shared


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def nodes(server: Harness) -> list[str]:
    return [worker._child._placed.node_id for worker in server.app.optimizers.workers]


async def both_running(server: Harness, text: str, folder: Path, **options: int) -> list[Stylization]:
    """Create two jobs, and wait until both have made two steps."""
    traces = [folder / str(number) for number in range(2)]
    asked = StylizationOptions(**options)
    jobs = [await server.create(order(f"{text} trace={trace}", options=asked)) for trace in traces]
    await eventually(lambda: all("step 2" in lines(trace) for trace in traces))
    return jobs


async def test_jobs_are_spread_over_the_nodes_and_previews_come_from_both(server, gate, tmp_path):
    assert len(set(nodes(server))) == 2
    jobs = await both_running(server, f"hold={gate} at=2", tmp_path, steps=12)
    watching = [server.begin_watch(job.name) for job in jobs for _ in range(25)]
    await eventually(lambda: all(events for _, events, _ in watching))
    gate.touch()
    outcomes = [await task for _, _, task in watching]
    assert [outcome.kinds()[-1] for outcome in outcomes] == ["result"] * 50
    assert all(outcome.only("preview") for outcome in outcomes)
    workers = (await server.info()).workers
    assert all(worker.host for worker in workers)
    assert len({(await server.image(job.name))[1] for job in jobs}) == 2  # their texts differ


async def test_a_cancel_is_heard_within_one_step(server, tmp_path):
    jobs = await both_running(server, "step=0.05", tmp_path, steps=400)
    for job in jobs:
        await server.cancel(job.name)
        assert (await server.watch(job.name)).kinds()[-1] == "cancelled"
    assert server.metric("steps_after_cancel_sum") <= server.metric("steps_after_cancel_count") == 2


async def test_a_front_that_is_cut_off_loses_its_jobs_after_their_lease_and_they_run_again(
    launch, cluster_address, tmp_path
):
    server = await launched(launch, cluster_address)
    trace = tmp_path / "trace"
    text = f"step=0.05 trace={trace}"
    job = await server.create(order(text, options=StylizationOptions(steps=100)))
    await eventually(lambda: "step 3" in lines(trace))
    server.process.send_signal(signal.SIGSTOP)
    cut_off = time.monotonic()
    await eventually(lambda: "closed" in lines(trace), 20)
    stopped_s = time.monotonic() - cut_off
    server.process.send_signal(signal.SIGCONT)

    watched = await server.watch(job.name)
    assert stopped_s < LEASE_S + 1.5
    assert (watched.kinds()[-1], len(watched.only("result"))) == ("result", 1)
    assert (await server.get(job.name)).attempt_count == 2
    assert Counter(lines(trace))["step 100"] == 1


async def test_actors_end_with_their_front(launch, cluster_address, tmp_path):
    server = await launched(launch, cluster_address)
    trace = tmp_path / "trace"
    await server.create(order(f"step=0.05 trace={trace}", options=StylizationOptions(steps=400)))
    await eventually(lambda: "step 3" in lines(trace))
    server.process.kill()
    await server.process.wait()
    await asyncio.sleep(LEASE_S + 1)
    steps = len(lines(trace))
    await asyncio.sleep(0.5)
    assert len(lines(trace)) == steps < 400


async def launched(launch: Any, address: str) -> Any:
    return await (await launch(engine="ray", ray_address=address, ray_lease_s=LEASE_S, devices="cpu*1")).ready()


async def test_the_autoscaler_hears_how_many_devices_the_queue_needs(server, gate, tmp_path, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(ClusterConnection, "request", lambda _, bundles: asked.append(len(bundles)))
    jobs = await both_running(server, f"hold={gate} at=2", tmp_path)
    await eventually(lambda: asked == [2])
    gate.touch()
    for job in jobs:
        await server.watch(job.name)
    await eventually(lambda: asked == [2, 1])


async def test_a_lost_node_has_its_job_run_once_more_and_leaves_the_other_alone(server, cluster, gate, tmp_path):
    """The last test of the module: it takes a node away, and adds one."""
    jobs = await both_running(server, f"hold={gate} at=3", tmp_path)
    watching = [server.begin_watch(job.name)[2] for job in jobs]
    lost = nodes(server)[0]
    runs = server.app.optimizers._runs
    on_lost = runs[jobs[0].name.removeprefix("stylizations/")] is server.app.optimizers.workers[0]
    lost_job, kept_job = jobs if on_lost else reversed(jobs)
    cluster.remove_node(next(node for node in cluster.worker_nodes if node.node_id == lost), allow_graceful=False)
    await eventually(lambda: server.app.optimizers.ready_count == 1, LOST_NODE_S)
    add_node(cluster, num_cpus=CPUS_PER_NODE)
    await eventually(lambda: lost_job.name.removeprefix("stylizations/") in runs, LOST_NODE_S)
    gate.touch()

    outcomes = [await asyncio.wait_for(task, LOST_NODE_S) for task in watching]
    assert [outcome.kinds()[-1] for outcome in outcomes] == ["result", "result"]
    assert [len(outcome.only("result")) for outcome in outcomes] == [1, 1]
    attempts = [(await server.get(job.name)).attempt_count for job in (lost_job, kept_job)]
    assert attempts == [2, 1]
    assert server.metric("stylization_duration_seconds_count", outcome="succeeded") == 2
