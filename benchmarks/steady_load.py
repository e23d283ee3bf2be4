"""Unary calls and watches beside a running stylization, for minutes: how long calls take, what fails, what memory does.

Examples
--------
    python -m benchmarks.steady_load                                   # four minutes
    python -m benchmarks.steady_load --seconds 20 --warm-up 5          # a quick look
    python -m benchmarks.steady_load --json steady-load.json

A real server with `pocket` and its evaluator stylizes without end. Watchers follow that job over some connections, and
calls of six methods begin at a fixed rate, whether or not earlier ones have ended. All of it runs on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from benchmarks import figures
from benchmarks.serving import serving
from clipstyler.v1 import encoder_service_pb2, encoder_service_pb2_grpc, server_service_pb2, server_service_pb2_grpc
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import StylizationSpec
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub

PHOTO = Path(__file__).parents[1] / "examples" / "cat.jpg"
CHANNELS = 10
STEPS = 100_000
MOST_GROWTH = 1.05
"""How many times as much memory the front process may have at the end."""
MIB = 2**20
_CALL_TIMEOUT_S = 30.0


@dataclass
class Seen:
    """What came back: seconds of each call by method, errors, and events of watchers."""

    durations: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    events: int = 0
    memory_mib: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Method:
    """Calls of one method."""

    method: str
    calls: int
    p50_s: float
    p99_s: float
    longest_s: float


@dataclass(frozen=True)
class Outcome:
    """Everything that was measured; memory is the front's, at the begin and end, after the warm-up."""

    seconds: float
    watchers: int
    events: int
    steps: int
    methods: list[Method]
    errors: dict[str, int]
    memory_begin_mib: float
    memory_end_mib: float
    memory_peak_mib: float

    @property
    def growth(self) -> float:
        """Memory at the end, as a multiple of that at the begin."""
        return self.memory_end_mib / self.memory_begin_mib


def calls_of(channel: grpc.aio.Channel, name: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return what makes one call of each method."""
    jobs: Any = StylizationServiceStub(channel)
    encoders: Any = encoder_service_pb2_grpc.EncoderServiceStub(channel)
    server: Any = server_service_pb2_grpc.ServerServiceStub(channel)
    health: Any = health_pb2_grpc.HealthStub(channel)
    text = encoder_service_pb2.EncodeTextRequest(texts=["fire"])
    direction = encoder_service_pb2.GetTextDirectionRequest(style_text="fire")
    wait: Any = {"timeout": _CALL_TIMEOUT_S}
    return {
        "GetServerInfo": lambda: server.GetServerInfo(server_service_pb2.GetServerInfoRequest(), **wait),
        "GetStylization": lambda: jobs.GetStylization(pb.GetStylizationRequest(name=name), **wait),
        "ListStylizations": lambda: jobs.ListStylizations(pb.ListStylizationsRequest(page_size=10), **wait),
        "GetTextDirection": lambda: encoders.GetTextDirection(direction, **wait),
        "EncodeText": lambda: encoders.EncodeText(text, **wait),
        "Check": lambda: health.Check(health_pb2.HealthCheckRequest(), **wait),
    }


async def call(method: str, make: Callable[[], Awaitable[Any]], seen: Seen) -> None:
    """Make one call and record how it ended."""
    begun = perf_counter()
    try:
        await make()
    except grpc.aio.AioRpcError as error:
        seen.errors[f"{method}: {error.code().name} {error.details()}"] += 1
    else:
        seen.durations[method].append(perf_counter() - begun)


async def watch(channel: grpc.aio.Channel, name: str, seen: Seen) -> None:
    """Follow the job until cancelled; a stream that ends earlier is an error."""
    stub: Any = StylizationServiceStub(channel)
    try:
        async for _ in stub.WatchStylization(pb.WatchStylizationRequest(name=name)):
            seen.events += 1
        seen.errors["WatchStylization: ended"] += 1
    except grpc.aio.AioRpcError as error:
        seen.errors[f"WatchStylization: {error.code().name} {error.details()}"] += 1


async def sample_memory(pid: int, seen: Seen) -> None:
    """Note the memory of the front process every second, until cancelled."""
    front = psutil.Process(pid)
    while True:
        seen.memory_mib.append(front.memory_info().rss / MIB)
        await asyncio.sleep(1)


async def call_at_rate(channels: list[grpc.aio.Channel], name: str, rate: float, seconds: float, seen: Seen) -> None:
    """Begin calls of all methods in turn, so many a second."""
    made = [calls_of(channel, name) for channel in channels]
    turns = itertools.cycle([(method, kinds[method]) for kinds in made for method in kinds])
    begun, running = perf_counter(), set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - perf_counter()))
        running.add(asyncio.create_task(call(*next(turns), seen)))
    await asyncio.gather(*running)


async def measure(target: str, pid: int, watchers: int, rate: float, warm_up_s: float, seconds: float) -> Outcome:
    """Put load on a server whose evaluator is ready, beside a stylization that it is given."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(target)) for _ in range(CHANNELS)]
        stub: Any = StylizationServiceStub(channels[0])
        options = StylizationOptions(size=256, steps=STEPS, patches=16, seed=1)
        spec = StylizationSpec(image=PHOTO.read_bytes(), style_text="fire", options=options)
        spec.previews.every_steps = 5
        name = (await stub.CreateStylization(pb.CreateStylizationRequest(spec=spec))).stylization.name
        warming, seen = Seen(), Seen()
        following = [asyncio.create_task(watch(channels[n % CHANNELS], name, seen)) for n in range(watchers)]
        await evaluator_ready(channels[0])
        await call_at_rate(channels, name, rate, warm_up_s, warming)
        sampling, before = asyncio.create_task(sample_memory(pid, seen)), seen.events
        await call_at_rate(channels, name, rate, seconds, seen)
        job = (await stub.GetStylization(pb.GetStylizationRequest(name=name))).stylization
        events = seen.events - before
        for task in (sampling, *following):
            task.cancel()
        await asyncio.gather(*following, sampling, return_exceptions=True)
        await stub.CancelStylization(pb.CancelStylizationRequest(name=name))
    share = max(1, len(seen.memory_mib) // 6)
    return Outcome(
        seconds=seconds,
        watchers=watchers,
        events=events,
        steps=job.step,
        methods=[described(method, times) for method, times in sorted(seen.durations.items())],
        errors=dict(seen.errors),
        memory_begin_mib=statistics.mean(seen.memory_mib[:share]),
        memory_end_mib=statistics.mean(seen.memory_mib[-share:]),
        memory_peak_mib=max(seen.memory_mib),
    )


async def evaluator_ready(channel: grpc.aio.Channel) -> None:
    """Wait until EncoderService works."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="clipstyler.v1.EncoderService")
    while (await health.Check(request)).status != health_pb2.HealthCheckResponse.SERVING:
        await asyncio.sleep(0.5)


def described(method: str, times: list[float]) -> Method:
    """Summarize the durations of a method's calls."""
    ordered = sorted(times)
    p99_s = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return Method(method, len(ordered), statistics.median(ordered), p99_s, ordered[-1])


def print_tables(outcome: Outcome) -> None:
    """Print the measurements, what should not be in red."""
    table = Table(title=f"Calls beside a running stylization and {outcome.watchers} watches, {outcome.seconds:g} s")
    for heading in ("method", "calls", "p50", "p99", "longest"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for row in outcome.methods:
        table.add_row(
            row.method, str(row.calls), *(f"{1000 * value:.1f} ms" for value in (row.p50_s, row.p99_s, row.longest_s))
        )
    figures.show(table)
    growth = f"{outcome.growth:.3f}" if outcome.growth <= MOST_GROWTH else f"[red]{outcome.growth:.3f}[/red]"
    figures.show(
        f"{outcome.events} events sent; front process: {outcome.memory_begin_mib:.1f} MiB, then "
        f"{outcome.memory_end_mib:.1f} MiB, times {growth}, peak {outcome.memory_peak_mib:.1f} MiB"
    )
    for error, count in outcome.errors.items():
        figures.show(f"{count} x {error}", style="red", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=300, help="default: 300")
    parser.add_argument("--calls-per-minute", type=float, default=2000, help="default: 2000")
    parser.add_argument("--seconds", type=float, default=180, help="default: 180")
    parser.add_argument("--warm-up", type=float, default=30, help="seconds before that; default: 30")
    figures.add_option(parser)
    arguments = parser.parse_args()
    with serving(caller_share=1, max_steps=STEPS, default_deadline_s=7200) as (target, pid):
        rate = arguments.calls_per_minute / 60
        load = measure(target, pid, arguments.watchers, rate, arguments.warm_up, arguments.seconds)
        outcome = asyncio.run(load)
    print_tables(outcome)
    figures.write(arguments.json, asdict(outcome) | {"growth": outcome.growth})
    raise SystemExit(bool(outcome.errors) or outcome.growth > MOST_GROWTH)


if __name__ == "__main__":
    main()
