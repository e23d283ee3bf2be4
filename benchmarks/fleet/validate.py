"""The simulation beside a real server: the same arrivals, waits and throughput of both.

Examples
--------
    python -m benchmarks.fleet.validate                             # two minutes and a half
    python -m benchmarks.fleet.validate --devices 1 2 4             # pools of optimizers too
    python -m benchmarks.fleet.validate --devices 1 2 4 --nodes 2   # and a Ray cluster of two nodes on this machine
    python -m benchmarks.fleet.validate --json validation.json

A real server runs scripted optimizers whose steps sleep for a known time. Jobs of three priorities from some clients
arrive at random moments. What is simulated is what the server reports of each job: when it arrived, and for how long it
occupied a device. How long each of them waited has to come out.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.devices import all_ready
from benchmarks.fleet.demand import Arrival
from benchmarks.fleet.simulation import Fleet, simulate
from benchmarks.load import create
from benchmarks.serving import serving
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub

ROOT = Path(__file__).parents[2]
STEP_S, STEPS = 0.05, 12
CLASSES = {"high": (3, 0.3), "normal": (2, 0.4), "low": (1, 0.3)}
CLIENTS = 4
MOST_DIFFERENCE = 0.15


@dataclass(frozen=True)
class Row:
    """One figure, measured and simulated."""

    figure: str
    measured: float
    simulated: float

    @property
    def difference(self) -> float:
        """Of the simulation, as a fraction of the measurement; whole if only one of them is 0."""
        return abs(self.simulated - self.measured) / (self.measured or self.simulated or 1.0)


@dataclass(frozen=True)
class Run:
    """A server with so many optimizers beside its simulation; a job occupied one for `service_s` on average.

    With the engine `ray` each optimizer is on a node of its own.
    """

    devices: int
    engine: str
    jobs: int
    load: float
    service_s: float
    rows: list[Row]


@dataclass(frozen=True)
class Replayed:
    """A job that the real server ran: when it arrived after the first one, how long it waited and how long it ran."""

    at_s: float
    kind: str
    client: str
    wait_s: float
    service_s: float


def plan(jobs: int, devices: int, load: float, seed: int) -> list[Arrival]:
    """Draw jobs that arrive at random moments so that the devices are busy for a share of the time."""
    rng, service_s = random.Random(seed), STEP_S * STEPS
    at_s, drawn = 0.0, []
    for _ in range(jobs):
        at_s += rng.expovariate(load * devices / service_s)
        (kind,) = rng.choices(list(CLASSES), [share for _, share in CLASSES.values()])
        client = f"client {rng.randrange(CLIENTS)}"
        drawn.append(Arrival(at_s, kind, CLASSES[kind][0], "127.0.0.1", service_s, client))
    return drawn


async def create_job(stub: Any, kind: str, client: str) -> str:
    """Create a job of a client; returns its name."""
    request: Any = create(f"step={STEP_S}", STEPS)
    request.priority = CLASSES[kind][0]  # the numbers of the contract
    job = (await stub.CreateStylization(request, metadata=[("x-clipstyler-client", client)])).stylization
    return str(job.name)


async def ended(stub: Any, name: str) -> Any:
    """Wait for the end of a job and return it.

    Raises
    ------
    RuntimeError
        It did not succeed.
    """
    while not (job := (await stub.GetStylization(pb.GetStylizationRequest(name=name))).stylization).HasField(
        "end_time"
    ):
        await asyncio.sleep(0.1)
    if job.state != Stylization.STATE_SUCCEEDED:
        raise RuntimeError(f"{name} did not succeed: {job.error}")
    return job


def seconds(moment: Timestamp) -> float:
    """Return a time of the contract in seconds since 1970."""
    return moment.seconds + moment.nanos / 1e9


async def replay(stub: Any, arrivals: Iterable[Arrival]) -> list[Replayed]:
    """Create jobs at their moments; returns what the server says about them."""
    loop = asyncio.get_running_loop()
    begun, creating = loop.time(), []
    for arrival in arrivals:
        await asyncio.sleep(max(0.0, begun + arrival.at_s - loop.time()))
        creating.append((arrival, asyncio.create_task(create_job(stub, arrival.kind, arrival.client))))
    jobs = [(arrival, await ended(stub, await task)) for arrival, task in creating]
    first = min(seconds(job.create_time) for _, job in jobs)
    return [
        Replayed(
            at_s=seconds(job.create_time) - first,
            kind=arrival.kind,
            client=arrival.client,
            wait_s=seconds(job.start_time) - seconds(job.create_time),
            service_s=seconds(job.end_time) - seconds(job.start_time),
        )
        for arrival, job in jobs
    ]


async def measure(target: str, devices: int, arrivals: Iterable[Arrival]) -> list[Replayed]:
    """Replay arrivals on a server once all its optimizers are ready."""
    await all_ready(target, devices)
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = StylizationServiceStub(channel)
        await ended(stub, await create_job(stub, "normal", "warm-up"))
        return await replay(stub, arrivals)


def compare(measured: list[Replayed], devices: int) -> list[Row]:
    """Simulate what arrived at the server, and put both beside each other."""
    arriving = [
        Arrival(job.at_s, job.kind, CLASSES[job.kind][0], "127.0.0.1", job.service_s, job.client)
        for job in sorted(measured, key=lambda job: job.at_s)
    ]
    outcome = simulate(Fleet(devices=devices), arriving)
    waits = {kind: [wait for _, wait in found] for kind, found in outcome.waits.items()}
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for job in measured:
        seen[job.kind].append(job.wait_s)
    rows = [
        Row(f"{kind} priority, mean wait in s", statistics.mean(seen[kind]), statistics.mean(waits[kind]))
        for kind in CLASSES
        if kind in seen
    ]
    everything = sorted(job.wait_s for job in measured)
    simulated = sorted(itertools.chain.from_iterable(waits.values()))
    last_s = max(job.at_s + job.wait_s + job.service_s for job in measured)
    rows += [
        Row("all, mean wait in s", statistics.mean(everything), statistics.mean(simulated)),
        Row("all, p95 of the wait in s", quantile(everything, 0.95), quantile(simulated, 0.95)),
        Row("jobs per s", len(measured) / last_s, outcome.succeeded / outcome.seconds),
    ]
    return rows


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(devices: int, jobs: int, load: float, seed: int, **engine: object) -> Run:
    """Replay arrivals on a server with so many optimizers, and simulate them."""
    settings: dict[str, Any] = {"encoder_sets": "scripted", "evaluator": False, "threads": 1, "nice": 0}
    settings |= {"queue_capacity": 1000, "caller_share": 1, "drain_grace_s": 0}
    settings |= {"devices": f"cpu*{devices}"} | engine
    with serving("tests.service.serve_scripted", **settings) as (target, _):
        replayed = asyncio.run(measure(target, devices, plan(jobs, devices, load, seed)))
    service_s = statistics.mean(job.service_s for job in replayed)
    return Run(devices, str(engine.get("engine", "local")), jobs, load, service_s, compare(replayed, devices))


@contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """Run a Ray cluster on this machine whose nodes have room for one optimizer each; yields its address."""
    import ray
    from ray.cluster_utils import Cluster

    # Actors import the scripted workload, and run in this environment.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    started = Cluster()
    try:
        started.add_node(num_cpus=0, include_dashboard=False)
        for _ in range(nodes):
            started.add_node(num_cpus=1)
        yield str(started.address)
    finally:
        ray.shutdown()
        started.shutdown()


def print_table(rows: list[Row], optimizers: str) -> None:
    """Print both, differences that are too large in red."""
    table = Table("figure", "server", "simulation", "difference", title=f"{optimizers}, the same arrivals")
    for row in rows:
        shown = f"{row.difference:.1%}"
        shown = shown if row.difference <= MOST_DIFFERENCE else f"[red]{shown}[/red]"
        table.add_row(row.figure, f"{row.measured:.3f}", f"{row.simulated:.3f}", shown)
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=at_least_one, default=200, help="of each run; default: 200")
    parser.add_argument(
        "--devices", type=at_least_one, nargs="+", default=[1], help="optimizers of the server; default: 1"
    )
    parser.add_argument(
        "--nodes", type=int, default=0, help="nodes of a Ray cluster, in a run of its own; default: none"
    )
    parser.add_argument("--load", type=float, default=0.8, help="share of the time that they are busy; default: 0.8")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals; default: 0")
    figures.add_option(parser)
    arguments = parser.parse_args()
    runs = [run(devices, arguments.jobs, arguments.load, arguments.seed) for devices in arguments.devices]
    if arguments.nodes:
        with cluster(arguments.nodes) as address:
            work = (arguments.nodes, arguments.jobs, arguments.load, arguments.seed)
            runs.append(run(*work, engine="ray", ray_address=address))
    for done in runs:
        print_table(done.rows, f"{done.devices} optimizers, {done.engine}")
    written = [
        asdict(done) | {"rows": [asdict(row) | {"difference": row.difference} for row in done.rows]} for done in runs
    ]
    figures.write(arguments.json, {"runs": written})
    raise SystemExit(any(row.difference > MOST_DIFFERENCE for done in runs for row in done.rows))


if __name__ == "__main__":
    main()
