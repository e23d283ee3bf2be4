"""Jobs per second on 1, 2, 4 and 8 optimizers, beside a straight line; and with watchers who never read.

Examples
--------
    python -m benchmarks.devices                           # some three minutes
    python -m benchmarks.devices --devices 1 2 --jobs 2    # a quick look
    python -m benchmarks.devices --json devices.json

A real server runs scripted optimizers whose steps sleep for a known time, so that what is measured is the way of jobs
to devices: as many jobs per device as asked for are created at once. With the last number of devices a second run has
a watcher for every job that never reads.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any

import grpc
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.load import create, over
from benchmarks.serving import serving
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.server_service_pb2 import GetServerInfoRequest, ServerInfo
from clipstyler.v1.server_service_pb2_grpc import ServerServiceStub
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub

LEAST_OF_LINEAR = 0.95
"""Part of so many times the rate of one device that must be reached."""
_PREVIEW_EVERY = 1


@dataclass(frozen=True)
class Throughput:
    """Jobs per second of so many devices.

    Attributes
    ----------
    of_linear
        Part of so many times the rate of one device.
    of_steps
        Part of the time in which the devices made steps.
    """

    devices: int
    unread_watchers: int
    jobs: int
    seconds: float
    jobs_per_s: float
    of_linear: float
    of_steps: float


async def seconds(target: str, jobs: int, steps: int, step_s: float, watched: bool) -> float:
    """Run jobs to their ends; returns the seconds from the first start to the last end."""
    async with AsyncExitStack() as stack:
        stub: Any = StylizationServiceStub(await stack.enter_async_context(grpc.aio.insecure_channel(target)))
        asked = [create(f"step={step_s} x", steps) for _ in range(jobs)]
        for request in asked:
            request.spec.previews.every_steps = _PREVIEW_EVERY
        names = [(await stub.CreateStylization(request)).stylization.name for request in asked]
        unread = [stub.WatchStylization(pb.WatchStylizationRequest(name=name)) for name in names] if watched else []
        for name in names:
            await over(stub, name)
        ended = [(await stub.GetStylization(pb.GetStylizationRequest(name=name))).stylization for name in names]
        for call in unread:
            call.cancel()
    starts = [job.start_time.ToNanoseconds() for job in ended]
    ends = [job.end_time.ToNanoseconds() for job in ended]
    return float(max(ends) - min(starts)) / 1e9


async def all_ready(target: str, devices: int) -> None:
    """Wait until every device takes jobs."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = ServerServiceStub(channel)
        states: list[int] = []
        while states != [ServerInfo.Worker.STATE_IDLE] * devices:
            await asyncio.sleep(0.1)
            info = (await stub.GetServerInfo(GetServerInfoRequest())).server_info
            states = [worker.state for worker in info.workers]


def measure(devices: int, jobs: int, steps: int, step_s: float, watched: bool, alone_per_s: float | None) -> Throughput:
    """Run so many jobs per device."""
    settings = {"encoder_sets": "scripted", "evaluator": False, "devices": f"cpu*{devices}", "threads": 1}
    count = jobs * devices
    with serving("tests.service.serve_scripted", queue_capacity=2 * count, **settings) as (target, _):
        asyncio.run(all_ready(target, devices))
        taken_s = asyncio.run(seconds(target, count, steps, step_s, watched))
    per_s = count / taken_s
    of_linear = per_s / (devices * alone_per_s) if alone_per_s else 1.0
    return Throughput(
        devices, count if watched else 0, count, taken_s, per_s, of_linear, per_s * steps * step_s / devices
    )


def print_table(rows: list[Throughput], steps: int, step_s: float) -> None:
    """Print the measurements, with missed targets in red."""
    table = Table(title=f"Jobs of {steps} steps of {1000 * step_s:g} ms each")
    for heading in ("devices", "watchers who never read", "jobs", "seconds", "jobs per s", "of linear", "steps' part"):
        table.add_column(heading, justify="right")
    for row in rows:
        linear = f"{100 * row.of_linear:.1f} %"
        shown = linear if row.of_linear >= LEAST_OF_LINEAR else f"[red]{linear}[/red]"
        counts = (str(row.devices), str(row.unread_watchers), str(row.jobs))
        table.add_row(*counts, f"{row.seconds:.2f}", f"{row.jobs_per_s:.3f}", shown, f"{100 * row.of_steps:.1f} %")
    figures.show(table)
    figures.show(f"at least {100 * LEAST_OF_LINEAR:g} % of linear is the aim")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=at_least_one, nargs="+", default=[1, 2, 4, 8], help="default: 1 2 4 8")
    parser.add_argument("--jobs", type=at_least_one, default=8, help="per device; default: 8")
    parser.add_argument("--steps", type=at_least_one, default=60, help="of each job; default: 60")
    parser.add_argument("--step-seconds", type=float, default=0.05, help="a scripted step sleeps; default: 0.05")
    figures.add_option(parser)
    arguments = parser.parse_args()
    work = (arguments.jobs, arguments.steps, arguments.step_seconds)
    rows: list[Throughput] = []
    for devices in arguments.devices:
        alone_per_s = rows[0].jobs_per_s / rows[0].devices if rows else None
        rows.append(measure(devices, *work, watched=False, alone_per_s=alone_per_s))
    alone_per_s = rows[0].jobs_per_s / rows[0].devices
    rows.append(measure(arguments.devices[-1], *work, watched=True, alone_per_s=alone_per_s))
    print_table(rows, *work[1:])
    figures.write(arguments.json, {"step_s": arguments.step_seconds, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
