"""What a job costs the front process and the database: processor time, rows written, bytes sent to a watcher.

Examples
--------
    python -m benchmarks.front_costs                                   # two minutes
    python -m benchmarks.front_costs --json benchmarks/results/front-costs-cpu.json

A real server on PostgreSQL runs a scripted optimizer. The front's processor time is read from the system before and
after jobs without watchers, short and long ones, which separates the cost of a job from that of a step, and jobs with
watchers. Rows written are PostgreSQL's own counts. Bytes are those of the messages of `pocket` at 256 px. The last
table is the time in which a queue computes all positions anew, as it does for every job that arrives, starts or ends.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import grpc
import psutil
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.database import Database
from clipstyler_server.storage.records import Record, State
from pgserver.postgres_server import get_server
from rich.table import Table
from sqlalchemy import create_engine, text

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.fleet.costs import FrontCosts
from benchmarks.load import create, over, read
from benchmarks.serving import serving
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import StylizationSpec
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
SHORT, LONG = 5, 55
STEP_S = 0.02
PREVIEW_EVERY = 10
WRITERS = 8
ORDERS = 5
"""How often positions are computed for a median."""
_STATISTICS_S = 3.0  # until PostgreSQL's counts are up to date
_WRITTEN = text("SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'stylizations'")


@dataclass(frozen=True)
class Positions:
    """Seconds in which a queue computes the positions of so many waiting jobs of so many accounts."""

    waiting: int
    accounts: int
    seconds: float


@contextmanager
def postgres() -> Iterator[str]:
    """Run PostgreSQL until the block ends; yields the URL of a database."""
    with TemporaryDirectory(prefix="clipstyler-") as folder:
        server = get_server(Path(folder))
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()


async def processor_s(target: str, pid: int, jobs: int, watchers: int) -> tuple[float, float, float]:
    """Return the front's processor seconds for a job without its steps, for a step, and for an event sent."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = StylizationServiceStub(channel)
        await run(stub, 1, LONG, watchers)
        short_s, _ = await measured(stub, pid, jobs, SHORT, 0)
        long_s, _ = await measured(stub, pid, jobs, LONG, 0)
        watched_s, events = await measured(stub, pid, max(1, jobs // 10), LONG, watchers)
    step_s = max(0.0, (long_s - short_s) / (LONG - SHORT))
    return short_s - SHORT * step_s, step_s, (watched_s - long_s) / events


async def measured(stub: Any, pid: int, jobs: int, steps: int, watchers: int) -> tuple[float, float]:
    """Return the front's processor seconds per job, and the events sent per job."""
    front = psutil.Process(pid)
    before = front.cpu_times()
    events = await run(stub, jobs, steps, watchers)
    after = front.cpu_times()
    return (after.user + after.system - before.user - before.system) / jobs, events / jobs


async def run(stub: Any, jobs: int, steps: int, watchers: int) -> int:
    """Run jobs one after the other; returns how many events the watchers received."""
    events = 0
    for _ in range(jobs):
        job = (await stub.CreateStylization(create(f"step={STEP_S}", steps))).stylization
        asked = pb.WatchStylizationRequest(name=job.name)
        events += sum(await asyncio.gather(*(read(stub.WatchStylization(asked)) for _ in range(watchers))))
        await asyncio.sleep(0 if watchers else steps * STEP_S)  # every look at the job costs the front something too
        await over(stub, job.name)
    return events


def rows_written(url: str) -> int:
    """Return the rows of jobs that were inserted or changed so far."""
    time.sleep(_STATISTICS_S)
    engine = create_engine(url)
    with engine.connect() as connection:
        count = int(connection.execute(_WRITTEN).scalar_one())
    engine.dispose()
    return count


def write_s(url: str, jobs: int) -> float:
    """Median seconds of one write of a job, its creation, its start or its end, while nobody else writes."""
    return statistics.median(write_jobs(url, jobs))


def writes_per_s(url: str, jobs: int, writers: int) -> float:
    """Writes per second of several fronts at the same time, each with one thread and connection as a front has."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        taken = list(pool.map(lambda _: write_jobs(url, jobs), range(writers)))
    return sum(map(len, taken)) / (time.perf_counter() - begun)


def write_jobs(url: str, jobs: int) -> list[float]:
    """Create, start and end jobs; returns the seconds of each of these writes."""
    database, taken = Database(url), []
    for _ in range(jobs):
        job = stored_job()
        writes = (
            partial(database.create, job),
            partial(database.transition, job.id, State.RUNNING, attempts=1),
            partial(database.transition, job.id, State.SUCCEEDED, end=job.spec, sequence=99),
        )
        for write in writes:
            begun = time.perf_counter()
            write()
            taken.append(time.perf_counter() - begun)
    database.close()
    return taken


def stored_job() -> Record:
    """Return a job with as many bytes as one usually has."""
    now = time.time()
    return Record(
        id=str(uuid.uuid4()),
        tenant="",
        request_id=str(uuid.uuid4()),
        payload_digest="d" * 64,
        account="benchmark",
        client="",
        priority=2,
        one_shot=False,
        state=State.QUEUED,
        created_at=now,
        deadline_at=now + 60,
        spec="s" * 1000,
        content="c" * 64,
        content_metadata="{}",
    )


async def message_bytes(target: str, steps: int) -> dict[str, float]:
    """Return the mean bytes of each kind of event of a job of `pocket` at 256 px, as a watcher gets them."""
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = StylizationServiceStub(channel)
        options = StylizationOptions(size=256, steps=steps, patches=16, seed=1)
        spec = StylizationSpec(image=PHOTO.read_bytes(), style_text="fire", options=options)
        spec.previews.every_steps = PREVIEW_EVERY
        name = (await stub.CreateStylization(pb.CreateStylizationRequest(spec=spec))).stylization.name
        async for response in stub.WatchStylization(pb.WatchStylizationRequest(name=name)):
            sizes[response.event.WhichOneof("event")].append(response.ByteSize())
    return {kind: statistics.mean(found) for kind, found in sizes.items()}


def positions(waiting: int, accounts: int) -> Positions:
    """Measure how long a queue needs for the order of all that wait: a median, after once that does not count."""
    queue: JobQueue[Any] = JobQueue(10 * waiting)
    for number in range(waiting):
        ticket: Any = SimpleNamespace(id=str(number), priority=2, caller=Caller(str(number % accounts)))
        queue.put(ticket)
    newcomer: Any = SimpleNamespace(id="newcomer", priority=2, caller=Caller("0"))
    taken = []
    for _ in range(1 + ORDERS):
        queue.put(newcomer)
        begun = time.perf_counter()
        queue.order()
        taken.append(time.perf_counter() - begun)
        queue.remove(newcomer.id)
    return Positions(waiting, accounts, statistics.median(taken[1:]))


def measure(jobs: int, watchers: int) -> FrontCosts:
    """Run both servers."""
    scripted: dict[str, Any] = {"encoder_sets": "scripted", "evaluator": False, "threads": 1, "caller_share": 1}
    with postgres() as url:
        with serving("tests.service.serve_scripted", database_url=url, **scripted) as (target, pid):
            before = rows_written(url)
            job_s, step_s, event_s = asyncio.run(processor_s(target, pid, jobs, watchers))
            written = rows_written(url) - before
        seconds, rate = write_s(url, 10 * jobs), writes_per_s(url, 10 * jobs, WRITERS)
    with serving(evaluator=False) as (target, _):
        sizes = asyncio.run(message_bytes(target, 2 * PREVIEW_EVERY))
    return FrontCosts(
        job_cpu_s=job_s,
        step_cpu_s=step_s,
        event_cpu_s=event_s,
        writes_per_job=written / (1 + 2 * jobs + max(1, jobs // 10)),
        write_s=seconds,
        database_writes_per_s=rate,
        preview_bytes=sizes["preview"],
        progress_bytes=sizes["progress"],
        result_bytes=sizes["result"],
        previews_per_step=1 / PREVIEW_EVERY,
    )


def print_tables(costs: FrontCosts, queues: list[Positions]) -> None:
    """Print the measurements."""
    table = Table("cost", "measured", title="The front process and the database")
    for name, value in asdict(costs).items():
        shown = f"{1000 * value:.3f} ms" if name.endswith(("cpu_s", "write_s")) else f"{value:,.1f}"
        table.add_row(name, shown)
    figures.show(table)
    table = Table("waiting jobs", "accounts", "all positions", title="What a queue needs for every change")
    for row in queues:
        table.add_row(f"{row.waiting:,}", f"{row.accounts:,}", f"{1000 * row.seconds:.1f} ms")
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=at_least_one, default=30, help="of each length; default: 30")
    parser.add_argument("--watchers", type=at_least_one, default=50, help="default: 50")
    figures.add_option(parser)
    arguments = parser.parse_args()
    costs = measure(arguments.jobs, arguments.watchers)
    queues = [positions(waiting, accounts) for waiting in (16, 100, 1000) for accounts in (1, waiting)]
    print_tables(costs, queues)
    figures.write(arguments.json, {"costs": asdict(costs), "positions": [asdict(row) for row in queues]})


if __name__ == "__main__":
    main()
