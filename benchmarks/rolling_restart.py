"""Restart two servers behind Envoy, one after the other, under load: no call fails, no job is lost or run twice.

Examples
--------
    python -m benchmarks.rolling_restart                       # 10,000 calls, some minutes on two cores
    python -m benchmarks.rolling_restart --calls 500           # a quick look
    python -m benchmarks.rolling_restart --shared              # servers that share their jobs
    python -m benchmarks.rolling_restart --json rolling.json

The servers run a scripted optimizer and use a PostgreSQL database, each for jobs of its own or all for the same ones.
Clients with default settings call through the gateway: one-shot stylizations, durable jobs (half of them sent twice
with the same request id), single jobs, lists and server information. Meanwhile each server gets SIGTERM, drains, and is
started again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.envoy_process import running
from clipstyler_client import AsyncClient, StylizeError
from pgserver.postgres_server import get_server
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.serving import Server

PHOTO = Path(__file__).parents[1] / "examples" / "cat.jpg"
SERVERS = 2
DRAIN_DELAY_S = 4.0
"""The gateway looks at the health of a server every 2 s, and waits 2 s for the answer."""
_SETTLE_S = 4.0  # until the gateway has noticed that a server is back
_STOP_S = 90.0
_OPTIONS: Any = {"size": 64, "steps": 2, "patches": 1, "seed": 1}
_JOBS_S = 120.0


@dataclass
class Record:
    """What the callers saw.

    Attributes
    ----------
    durations
        Seconds of each call that succeeded, by method.
    failures
        Calls that failed in spite of the client's retries, by what they reported.
    jobs
        Names of durable jobs by their request id; more than one would be a double.
    """

    durations: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: Counter[str] = field(default_factory=Counter)
    jobs: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def calls(self) -> int:
        """Number of calls that have ended."""
        return sum(map(len, self.durations.values())) + self.failures.total()

    async def call(self, method: str, made: Awaitable[Any]) -> Any:
        """Await a call and record how it ended; returns its answer, None if it failed."""
        begun = perf_counter()
        try:
            answer = await made
        except StylizeError as error:
            self.failures[f"{method}: {error.code} {error.reason} {error.message}"] += 1
            return None
        self.durations[method].append(perf_counter() - begun)
        return answer


@dataclass(frozen=True)
class Outcome:
    """What became of the calls and jobs.

    Attributes
    ----------
    restarts
        Servers restarted under load.
    failed
        Calls that failed.
    lost
        Durable jobs that were accepted and did not succeed.
    doubled
        Request ids with more than one job, and runs of durable jobs beyond one each.
    """

    calls: int
    restarts: int
    failed: int
    durable_jobs: int
    lost: int
    doubled: int
    p50_s: dict[str, float]
    p99_s: dict[str, float]
    failures: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed, was lost or doubled."""
        return not (self.failed or self.lost or self.doubled)


async def one_shot(client: AsyncClient, record: Record) -> None:
    """Stylize for the duration of a call."""
    await record.call("Stylize", client.stylize(PHOTO, "step=0.01 x", **_OPTIONS).result())


async def durable(client: AsyncClient, record: Record, traces: Path) -> None:
    """Create a job; every other one is sent again, as by a caller that lost the answer."""
    request_id = str(uuid.uuid4())
    text = f"step=0.01 trace={trace_of(traces, request_id)}"
    for _ in range(random.choice((1, 2))):
        created = client.jobs.create(PHOTO, text, request_id=request_id, **_OPTIONS)
        if job := await record.call("CreateStylization", created):
            record.jobs[request_id].add(job.name)


def trace_of(traces: Path, request_id: str) -> Path:
    """Return the file in which the runs of a durable job leave their steps."""
    return traces / request_id


def doubled(record: Record, traces: Path) -> int:
    """Count jobs beyond one of each request id, and runs beyond one of each job."""
    found = 0
    for request_id, jobs in record.jobs.items():
        trace = trace_of(traces, request_id)
        runs = trace.read_text().split("\n").count("step 1") if trace.exists() else 0
        found += len(jobs) - 1 + max(0, runs - len(jobs))
    return found


async def read(client: AsyncClient, record: Record) -> None:
    """Read a job, some jobs, and what the server is."""
    if record.jobs:
        name = next(iter(random.choice(list(record.jobs.values()))))
        await record.call("GetStylization", client.jobs.get(name))
    await record.call("ListStylizations", client.jobs.page(page_size=5))
    await record.call("GetServerInfo", client.server_info())


async def call_until(is_enough: Callable[[], bool], client: AsyncClient, record: Record, traces: Path) -> None:
    """Make calls of all kinds, one after the other."""
    while not is_enough():
        await one_shot(client, record)
        await durable(client, record, traces)
        for _ in range(4):
            await read(client, record)


async def restart_all(servers: list[Server]) -> None:
    """Restart each server in turn, as an orchestrator does: the next one only when the last one is back."""
    for server in servers:
        code = await asyncio.to_thread(server.stop, _STOP_S)
        if code:
            raise RuntimeError(f"a drained server exited with code {code}")
        server.start()
        await asyncio.to_thread(server.wait_until_ready)
        await asyncio.sleep(_SETTLE_S)


async def measure(target: str, servers: list[Server], calls: int, callers: int, folder: Path) -> Outcome:
    """Restart the servers while callers make so many calls; more, if the restarts take longer."""
    record, traces = Record(), folder / "runs"
    traces.mkdir()
    async with AsyncClient(target) as client:
        await client.wait_until_ready()
        restarting: asyncio.Task[None] | None = None

        def is_enough() -> bool:
            nonlocal restarting
            if restarting is None and record.calls >= calls // 10:
                restarting = asyncio.create_task(restart_all(servers))
            return record.calls >= calls and restarting is not None and restarting.done()

        await asyncio.gather(*(call_until(is_enough, client, record, traces) for _ in range(callers)))
        if restarting:
            await restarting
        names = [name for jobs in record.jobs.values() for name in jobs]
        states = await final_states(client, names)
    return Outcome(
        calls=record.calls,
        restarts=len(servers),
        failed=record.failures.total(),
        durable_jobs=len(names),
        lost=len(names) - states["succeeded"],
        doubled=doubled(record, traces),
        p50_s={method: statistics.median(times) for method, times in record.durations.items()},
        p99_s={method: quantile(times, 0.99) for method, times in record.durations.items()},
        failures=dict(record.failures),
    )


async def final_states(client: AsyncClient, names: list[str]) -> Counter[str]:
    """Wait for the end of jobs; returns their number by state."""
    states: dict[str, str] = {}
    until = perf_counter() + _JOBS_S
    while len(states) < len(names) and perf_counter() < until:
        for name in itertools.filterfalse(states.__contains__, names):
            job = await client.jobs.get(name)
            if job.state not in {"queued", "running"}:
                states[name] = job.state
        await asyncio.sleep(0.2)
    return Counter(states.values())


def quantile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def site(folder: Path, shared: bool) -> Iterator[tuple[str, list[Server]]]:
    """Run PostgreSQL, the servers and the gateway; yields the gateway's address and the servers."""
    database = get_server(folder / "postgres")
    servers: list[Server] = []
    try:
        for number in range(SERVERS):
            servers.append(
                Server(
                    folder / f"data-{number}",
                    "tests.service.serve_scripted",
                    encoder_sets="scripted",
                    evaluator=False,
                    threads=1,
                    queue_capacity=500,
                    trusted_proxies="127.0.0.1",
                    caller_share=1,
                    drain_delay_s=DRAIN_DELAY_S,
                    drain_grace_s=30,
                    shared_dir=folder / "shared" if shared else "",
                    database_url=database.get_uri().replace("postgresql://", "postgresql+psycopg://"),
                )
            )
            servers[-1].wait_until_ready()
        with running(GatewayConfig("127.0.0.1", 0, tuple(server.target for server in servers))) as gateway:
            yield gateway.address.removeprefix("http://"), servers
    finally:
        for server in servers:
            server.kill()
        database.cleanup()


def run(calls: int, callers: int, shared: bool = False) -> Outcome:
    """Start everything, measure, and end everything; `shared`: the servers share their jobs."""
    with TemporaryDirectory(prefix="clipstyler-") as folder, site(Path(folder), shared) as (target, servers):
        return asyncio.run(measure(target, servers, calls, callers, Path(folder)))


def print_tables(outcome: Outcome) -> None:
    """Print the outcome, failures in red."""
    table = Table(title=f"{outcome.calls} calls, {outcome.restarts} servers restarted one after the other")
    for heading in ("method", "p50", "p99"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for method, p50_s in sorted(outcome.p50_s.items()):
        table.add_row(method, f"{1000 * p50_s:.1f} ms", f"{1000 * outcome.p99_s[method]:.1f} ms")
    figures.show(table)
    color = "green" if outcome.is_clean else "red"
    lost = f"{outcome.lost} of {outcome.durable_jobs} durable jobs lost"
    figures.show(f"[{color}]{outcome.failed} calls failed, {lost}, {outcome.doubled} doubled[/{color}]")
    for failure, count in outcome.failures.items():
        figures.show(f"{count} x {failure}", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=at_least_one, default=10_000, help="at least so many; default: 10,000")
    parser.add_argument("--callers", type=at_least_one, default=24, help="that call at the same time; default: 24")
    parser.add_argument("--shared", action="store_true", help="share the jobs between the servers")
    figures.add_option(parser)
    arguments = parser.parse_args()
    outcome = run(arguments.calls, arguments.callers, arguments.shared)
    print_tables(outcome)
    figures.write(arguments.json, asdict(outcome))
    raise SystemExit(not outcome.is_clean)


if __name__ == "__main__":
    main()
