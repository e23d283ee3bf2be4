"""Images per minute through one optimizer that runs several jobs at once, beside one that runs one after another.

Examples
--------
    python -m benchmarks.shared_runs                           # 4 jobs of `pocket` at 128 px, 3 rounds: some minutes
    python -m benchmarks.shared_runs --jobs 8 --size 256 --rounds 5
    python -m benchmarks.shared_runs --device cuda --json shared-runs.json
    python -m benchmarks.shared_runs --device cuda --accelerations graphs,tf32,channels_last,bf16,kernels

Two servers run real jobs in turns, one with CLIPSTYLER_RUNS_PER_DEVICE at the number of jobs and one with 1, so that
background load affects both alike; the other one is idle meanwhile. `benchmarks.shared_steps` measures steps alone.

They are started one after the other: on a machine that has run none before, the first measures which accelerations pay
and compiles kernels for a GPU before it is ready, and the second finds both on disk. Naming accelerations saves the
measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.load import over
from benchmarks.serving import serving
from clipstyler.acceleration import AUTO
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import PRESET_DRAFT, StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization, StylizationSpec
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
TEXTS = ("fire", "watercolor painting", "starry night", "a mosaic of glass")
LEAST_GAIN = 1.15
"""Several jobs at once are worth their memory where they are at least so many times as fast."""


@dataclass(frozen=True)
class Round:
    """Seconds from the first start to the last end of the same jobs both ways, and how many of their steps were shared.

    Attributes
    ----------
    gain
        How many times as fast they are at once.
    """

    one_by_one_s: float
    at_once_s: float
    gain: float
    shared_steps: int


def asked(number: int, size: int, steps: int) -> pb.CreateStylizationRequest:
    """Return one of the jobs: a text and a seed by its number."""
    options = StylizationOptions(preset=PRESET_DRAFT, size=size, output_size=size, steps=steps, seed=number)
    spec = StylizationSpec(image=PHOTO.read_bytes(), style_text=TEXTS[number % len(TEXTS)], options=options)
    spec.previews.every_steps = 0
    return pb.CreateStylizationRequest(spec=spec, request_id=str(uuid.uuid4()))


async def finished(target: str, jobs: int, size: int, steps: int) -> list[Stylization]:
    """Create jobs and wait until all have ended."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = StylizationServiceStub(channel)
        orders = [asked(number, size, steps) for number in range(jobs)]
        names = [(await stub.CreateStylization(order)).stylization.name for order in orders]
        for name in names:
            await over(stub, name)
        return [(await stub.GetStylization(pb.GetStylizationRequest(name=name))).stylization for name in names]


def seconds(ended: list[Stylization]) -> float:
    """Return the seconds from the first start to the last end.

    Raises
    ------
    RuntimeError
        A job has failed.
    """
    if failed := [job.error.message for job in ended if job.state != Stylization.STATE_SUCCEEDED]:
        raise RuntimeError(f"a job has failed: {failed[0]}")
    begun = min(job.start_time.ToNanoseconds() for job in ended)
    return (max(job.end_time.ToNanoseconds() for job in ended) - begun) / 1e9


@contextmanager
def started(runs: int, **settings: Any) -> Iterator[str]:
    """Run a server for so many runs at once; shows how long its start takes, and yields its address."""
    begun = time.monotonic()
    figures.show(f"starting a server for {runs} at once")
    with serving(runs_per_device=runs, **settings) as (target, _):
        figures.show(f"ready after {time.monotonic() - begun:.0f} s")
        yield target


def measure(device: str, jobs: int, size: int, steps: int, rounds: int, accelerations: str = AUTO) -> list[Round]:
    """Run the jobs both ways in turns; the first round warms up and is left out."""
    settings: dict[str, Any] = {"evaluator": False, "device": device, "queue_capacity": 2 * jobs, "caller_share": 1}
    settings["accelerations"] = accelerations
    work, found = (jobs, size, steps), []
    with started(1, **settings) as alone, started(jobs, **settings) as together:
        for _ in range(1 + rounds):
            one_by_one_s = seconds(asyncio.run(finished(alone, *work)))
            ended = asyncio.run(finished(together, *work))
            at_once_s = seconds(ended)
            shared = sum(int(job.result.versions.get("shared_steps", "0")) for job in ended)
            found.append(Round(one_by_one_s, at_once_s, one_by_one_s / at_once_s, shared))
    return found[1:]


def print_table(rounds: list[Round], jobs: int, size: int, steps: int) -> None:
    """Print the rounds and the median gain; one that is worth it is green."""
    table = Table(title=f"{jobs} jobs of `pocket`, {size} px, {steps} steps, through one optimizer")
    for heading in ("one after another", "at once", "times as fast", "steps that were shared"):
        table.add_column(heading, justify="right")
    for row in rounds:
        rates = (f"{60 * jobs / taken_s:.2f} images/min" for taken_s in (row.one_by_one_s, row.at_once_s))
        table.add_row(*rates, f"{row.gain:.3f}", f"{row.shared_steps} of {jobs * steps}")
    figures.show(table)
    gain = statistics.median(row.gain for row in rounds)
    color = "green" if gain >= LEAST_GAIN else "red"
    figures.show(f"median: [{color}]{gain:.3f}[/{color}] times as fast; {LEAST_GAIN} is what makes it worth its memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=at_least_one, default=4, help="that run at once; default: 4")
    parser.add_argument("--size", type=at_least_one, default=128, help="default: 128")
    parser.add_argument("--steps", type=at_least_one, default=20, help="of each job; default: 20")
    parser.add_argument("--rounds", type=at_least_one, default=3, help="measured rounds, after one more; default: 3")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--accelerations", default=AUTO, help="of both servers; default: auto")
    figures.add_option(parser)
    arguments = parser.parse_args()
    work = (arguments.jobs, arguments.size, arguments.steps)
    rounds = measure(arguments.device, *work, arguments.rounds, arguments.accelerations)
    print_table(rounds, *work)
    measured = {"device": arguments.device, "jobs": work[0], "size": work[1], "steps": work[2]}
    figures.write(arguments.json, measured | {"rounds": [asdict(row) for row in rounds]}, os.cpu_count())


if __name__ == "__main__":
    main()
