"""Cost of watchers and cancelled jobs: step times with and without watchers in turns, and memory.

Examples
--------
    python -m benchmarks.load                              # some minutes
    python -m benchmarks.load --watchers 50 --jobs 100     # a quick look
    python -m benchmarks.load --json load.json

A real server runs a scripted optimizer whose steps sleep for a known time, and writes down when each began. Half of the
jobs have no watcher, half have all watchers, in turns; one of the watchers never reads. The watchers run in this
process, on the same cores. Then jobs are created and cancelled at work, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import uuid
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.serving import serving
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization, StylizationSpec
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub

PHOTO = Path(__file__).parents[1] / "examples" / "cat.jpg"
MOST_TIMES = 1.05
"""How many times as long a step may take with all watchers."""
CHANNELS = 10
MIB = 2**20


@dataclass(frozen=True)
class Watching:
    """Median seconds of a step without and with watchers, and what the watchers got."""

    watchers: int
    steps: int
    alone_s: float
    watched_s: float
    ratio: float
    events: int


@dataclass(frozen=True)
class Memory:
    """Memory of the front process after so many cancelled jobs, in MiB."""

    cancelled: int
    mib: float


def create(text: str, steps: int) -> pb.CreateStylizationRequest:
    """A job of so many scripted steps."""
    options = StylizationOptions(size=256, steps=steps, patches=1, seed=1)
    spec = StylizationSpec(image=PHOTO.read_bytes(), style_text=text, options=options)
    return pb.CreateStylizationRequest(spec=spec, request_id=str(uuid.uuid4()))


async def watching(target: str, watchers: int, jobs: int, steps: int, step_s: float) -> Watching:
    """Run jobs without and with watchers in turns."""
    alone: list[float] = []
    watched: list[float] = []
    events = 0
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(target)) for _ in range(CHANNELS)]
        stubs: list[Any] = [StylizationServiceStub(channel) for channel in channels]
        await one_job(stubs, 0, steps, step_s)
        for _ in range(jobs):
            alone += (await one_job(stubs, 0, steps, step_s))[0]
            durations, seen = await one_job(stubs, watchers, steps, step_s)
            watched += durations
            events += seen
    alone_s, watched_s = statistics.median(alone), statistics.median(watched)
    return Watching(watchers, len(watched), alone_s, watched_s, watched_s / alone_s, events)


async def one_job(stubs: list[Any], watchers: int, steps: int, step_s: float) -> tuple[list[float], int]:
    """Run one job to its end; returns how long its steps took and how many events its watchers received."""
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        job = (await stubs[0].CreateStylization(create(f"step={step_s} times={times}", steps))).stylization
        asked = pb.WatchStylizationRequest(name=job.name)
        never_read = [stubs[-1].WatchStylization(asked)] if watchers else []
        readers = itertools.islice(itertools.cycle(stubs), max(0, watchers - 1))
        counts = await asyncio.gather(*(read(stub.WatchStylization(asked)) for stub in readers))
        await over(stubs[0], job.name)
        for call in never_read:
            call.cancel()
        moments = [float(line) for line in times.read_text().split()]
    return [after - before for before, after in itertools.pairwise(moments)], sum(counts)


async def read(call: Any) -> int:
    """Follow a job to its end; returns how many events came."""
    return len([response async for response in call])


async def over(stub: Any, name: str) -> None:
    """Wait for a job's end without watching it.

    Raises
    ------
    RuntimeError
        It did not succeed: what it took is no measurement.
    """
    asked = pb.GetStylizationRequest(name=name)
    while not (job := (await stub.GetStylization(asked)).stylization).HasField("end_time"):
        await asyncio.sleep(0.2)
    if job.state != Stylization.STATE_SUCCEEDED:
        raise RuntimeError(f"{name} did not succeed: {job.error.message or 'cancelled'}")


async def memory(target: str, pid: int, jobs: int) -> list[Memory]:
    """Cancel running jobs; returns the memory of the front process at five points."""
    front, rows = psutil.Process(pid), []
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = StylizationServiceStub(channel)
        for number in range(1, jobs + 1):
            job = (await stub.CreateStylization(create("step=0.005 x", 500))).stylization
            async for response in stub.WatchStylization(pb.WatchStylizationRequest(name=job.name)):
                if response.event.HasField("progress"):
                    await stub.CancelStylization(pb.CancelStylizationRequest(name=job.name))
            if number % max(1, jobs // 5) == 0:
                rows.append(Memory(number, front.memory_info().rss / MIB))
    return rows


def print_tables(watched: Watching, grown: list[Memory]) -> None:
    """Print the measurements, with missed targets in red."""
    table = Table(title=f"{watched.steps} steps each, one of the watchers never reads")
    for heading in ("watchers", "median step alone", "median step watched", "times as long", "events sent"):
        table.add_column(heading, justify="right")
    ratio = f"{watched.ratio:.3f}" if watched.ratio < MOST_TIMES else f"[red]{watched.ratio:.3f}[/red]"
    alone, busy = (f"{1000 * seconds:.2f} ms" for seconds in (watched.alone_s, watched.watched_s))
    table.add_row(str(watched.watchers), alone, busy, ratio, str(watched.events))
    figures.show(table)
    table = Table(title="Memory of the front process")
    table.add_column("cancelled jobs", justify="right")
    table.add_column("MiB", justify="right")
    for row in grown:
        table.add_row(str(row.cancelled), f"{row.mib:.1f}")
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=200, help="default: 200")
    parser.add_argument(
        "--rounds", type=at_least_one, default=3, help="jobs without and with watchers; default: 3 of each"
    )
    parser.add_argument("--steps", type=at_least_one, default=200, help="of each job; default: 200")
    parser.add_argument("--step-seconds", type=float, default=0.05, help="a scripted step sleeps; default: 0.05")
    parser.add_argument("--jobs", type=at_least_one, default=500, help="to cancel; default: 500")
    figures.add_option(parser)
    arguments = parser.parse_args()
    with serving("tests.service.serve_scripted", encoder_sets="scripted", evaluator=False) as (target, pid):
        watched = asyncio.run(
            watching(target, arguments.watchers, arguments.rounds, arguments.steps, arguments.step_seconds)
        )
        grown = asyncio.run(memory(target, pid, arguments.jobs))
    print_tables(watched, grown)
    figures.write(arguments.json, {"watching": asdict(watched), "memory": [asdict(row) for row in grown]})


if __name__ == "__main__":
    main()
