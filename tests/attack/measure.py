"""Measures an attack from its begin to its end: one row of the table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import grpc
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.attack.outcomes import Tally
from tests.attack.sampling import children, running
from tests.service.harness import eventually, order
from tests.service.process import ServerProcess

_PAUSES = "clipstyler_event_loop_pause_seconds_bucket"
_TICK_S = 0.01
_YIELD = 10  # added to the nice value
SETTLED = 1.1
"""How many times its memory at the start a process may have when an attack has settled."""
Scaled = TypeVar("Scaled")


def is_long() -> bool:
    """Return whether this is the long run."""
    return os.environ.get("CLIPSTYLER_ATTACK") == "long"


class Watcher:
    """The process that watches the server, as the attacker sees it.

    Parameters
    ----------
    process
        Runs `tests.attack.watcher`.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def restart(self) -> None:
        """Measure from now on."""
        await self._ask("restart")

    async def look(self) -> dict[str, Any]:
        """Return what was measured so far."""
        return await self._ask("look")

    async def figures(self) -> dict[str, Any]:
        """Measure no more; return what was measured."""
        return await self._ask("figures")

    async def _ask(self, command: str) -> dict[str, Any]:
        self._process.stdin.write(f"{command}\n".encode())
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line, "the watcher ended"
        return json.loads(line)


@dataclass
class Target:
    """A server under attack, and what watches it.

    Attributes
    ----------
    server
        The process.
    channel
        The attacker's.
    record
        File that names the server's children.
    watcher
        Measures from outside.
    seed
        Of all attacks; each draws from a generator of its own.
    raw_lines
        What the server wrote to stderr besides log lines.
    most_bytes
        Bounds of the processes' memory, by name.
    is_long
        Whether it is attacked as in the long run.
    """

    server: ServerProcess
    channel: grpc.aio.Channel
    record: Path
    watcher: Watcher
    seed: int
    raw_lines: list[str]
    most_bytes: Mapping[str, int]
    is_long: bool = field(default_factory=is_long)

    @property
    def address(self) -> str:
        """Where gRPC listens."""
        return self.server.line("server_ready")["grpc"]

    @property
    def front(self) -> psutil.Process:
        """The front process."""
        return psutil.Process(self.server.process.pid)

    @property
    def data_dir(self) -> Path:
        """The server's data."""
        return Path(self.server.settings["data_dir"])

    def scale(self, short: Scaled, long: Scaled) -> Scaled:
        """Return how much: the first value in the test suite, the second one in the long run."""
        return long if self.is_long else short

    def chance(self, name: str) -> random.Random:
        """Return the generator of an attack."""
        return random.Random(f"{self.seed} {name}")

    async def child(self, name: str) -> psutil.Process:
        """Return the child under a name; if the last one has just ended, wait for its successor."""
        return await eventually(lambda: running(dict(children(self.record))[name]))

    async def metrics(self) -> dict[tuple[str, str], float]:
        """Return the value of every metric, by name and labels."""
        url = f"http://{self.server.line('server_ready')['http']}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            families = text_string_to_metric_families(await response.text())
        return {
            (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
            for family in families
            for sample in family.samples
        }


@dataclass
class Figures:
    """What an attack did to the server. Sizes are in bytes, times in seconds.

    Attributes
    ----------
    name, seconds
        Of the attack.
    tally
        Inputs and their outcomes.
    restarts
        Processes started again, by name.
    longest_pause_s
        Of the server's event loop; an upper bound where it comes from a histogram.
    pause_from
        What that was read from.
    attacker_pause_s
        The longest pause of the attacker itself.
    watched
        The bystander's delays and the processes' peaks.
    front_bytes, descriptors, disk_bytes
        Before and after.
    tracebacks
        Log lines with an exception, by event.
    works_after_s
        Seconds until a small job was done after the attack; None if it never was.
    """

    name: str
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    restarts: dict[str, int] = field(default_factory=dict)
    longest_pause_s: float = 0.0
    pause_from: str = ""
    attacker_pause_s: float = 0.0
    watched: dict[str, Any] = field(default_factory=dict)
    front_bytes: tuple[int, int] = (0, 0)
    descriptors: tuple[int, int] = (0, 0)
    disk_bytes: tuple[int, int] = (0, 0)
    tracebacks: Counter[str] = field(default_factory=Counter)
    works_after_s: float | None = None

    def as_json(self) -> dict[str, object]:
        """Return everything but the name."""
        return {name: value for name, value in vars(self).items() if name != "name"} | {"tally": vars(self.tally)}


@asynccontextmanager
async def watching(server: ServerProcess, record: Path) -> AsyncIterator[Watcher]:
    """Run the watching process."""
    ready = server.line("server_ready")
    arguments = (ready["grpc"], ready["http"], str(server.process.pid), str(record))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.attack.watcher", *arguments, stdin=PIPE, stdout=PIPE, limit=2**20
    )
    try:
        yield Watcher(process)
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10)
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass(frozen=True)
class _State:
    """What is compared before and after."""

    children: int
    lines: int
    raw_lines: int
    front_bytes: int
    descriptors: int
    disk_bytes: int
    metrics: Mapping[tuple[str, str], float]

    @classmethod
    async def of(cls, target: Target) -> _State:
        metrics = await target.metrics()
        front = target.front
        return cls(
            len(children(target.record)),
            len(target.server.lines),
            len(target.raw_lines),
            front.memory_info().rss,
            front.num_fds(),
            disk_bytes(target.data_dir),
            metrics,
        )


async def measure(
    target: Target, rows: list[Figures], attack: Callable[[Target, Tally], Awaitable[None]], settle_s: float = 0.0
) -> Figures:
    """Run an attack and add its row; the server's memory has `settle_s` to come back to what it was."""
    figures = Figures(attack.__name__)
    rows.append(figures)
    before = await _State.of(target)
    await target.watcher.restart()
    pauses = asyncio.create_task(_note_pauses(figures))
    begun = time.monotonic()
    try:
        with _yielding():
            await attack(target, figures.tally)
    finally:
        figures.seconds = round(time.monotonic() - begun, 1)
        pauses.cancel()
        if target.server.process.returncode is None:
            figures.works_after_s = await works_after(target)
            await _settle(target, SETTLED * before.front_bytes, settle_s)
            await _compare(target, figures, before, await _State.of(target))
    return figures


@contextlib.contextmanager
def _yielding() -> Iterator[None]:
    """Let the attacker, who stands for other machines, yield the processor to the server; where that can be undone."""
    if os.geteuid() != 0:
        yield
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, before + _YIELD)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


async def _settle(target: Target, most_bytes: float, patience_s: float) -> None:
    """Wait until the front process has no more than that, for some seconds at most."""
    end = time.monotonic() + patience_s
    while target.front.memory_info().rss > most_bytes and time.monotonic() < end:
        await asyncio.sleep(0.5)


async def works_after(target: Target, patience_s: float = 60.0) -> float | None:
    """Return the seconds until a small job is done; None if that takes too long."""
    begun = time.monotonic()

    async def done() -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                name = (await target.server.create(order("after the attack"))).name
                if (await target.server.watch(name)).kinds()[-1:] == ["result"]:
                    return
            await asyncio.sleep(0.1)

    try:
        await asyncio.wait_for(done(), patience_s)
    except TimeoutError:
        return None
    return round(time.monotonic() - begun, 2)


async def _compare(target: Target, figures: Figures, before: _State, after: _State) -> None:
    figures.watched = await target.watcher.figures()
    figures.restarts = dict(Counter(name for name, _ in children(target.record)[before.children :]))
    figures.front_bytes = (before.front_bytes, after.front_bytes)
    figures.descriptors = (before.descriptors, after.descriptors)
    figures.disk_bytes = (before.disk_bytes, after.disk_bytes)
    for line in target.server.lines[before.lines :]:
        if "exception" in line or line["event"] == "rpc_failed":
            figures.tracebacks[line["event"]] += 1
        if line["event"] == "foreign_output" and "Traceback" in line["line"]:
            figures.tracebacks["stderr"] += 1
    del target.server.lines[before.lines :]  # tracebacks are long
    figures.tracebacks["stderr"] += sum("Traceback" in line for line in target.raw_lines[before.raw_lines :])
    figures.tracebacks += Counter()  # drops zeros
    livez_s = figures.watched["bystander"]["livez"]["longest_s"] or math.inf
    grown_s = _longest_pause(before.metrics, after.metrics)
    known = grown_s is not None and math.isfinite(grown_s)
    figures.longest_pause_s, figures.pause_from = (grown_s, "metric") if known else (livez_s, "livez")


def _longest_pause(before: Mapping[tuple[str, str], float], after: Mapping[tuple[str, str], float]) -> float | None:
    """Return the bound of the highest bucket that grew; None if the metric is not served."""
    bounds = {float(json.loads(key[1])["le"]): key for key in after if key[0] == _PAUSES}
    if not bounds:
        return None
    lower, longest = 0.0, 0.0
    for bound in sorted(bounds):
        grown = after[bounds[bound]] - before.get(bounds[bound], 0.0)
        if grown > lower:
            longest = bound
        lower = grown
    return longest


async def _note_pauses(figures: Figures) -> None:
    while True:
        begun = time.monotonic()
        await asyncio.sleep(_TICK_S)
        figures.attacker_pause_s = round(max(figures.attacker_pause_s, time.monotonic() - begun - _TICK_S), 3)


def disk_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; files may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


async def wait_for_evaluator(server: ServerProcess) -> None:
    """Wait until calls of EncoderService are answered."""
    await eventually(lambda: server.line("evaluator_ready"), 120)
