"""Three engines of two devices each: scripted threads, local processes, actors of a Ray cluster."""

from __future__ import annotations

import asyncio
import queue
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.spool import Spool
from clipstyler_server.workers.cluster.connection import ClusterConnection
from clipstyler_server.workers.cluster.worker import ClusterWorker
from clipstyler_server.workers.engine import Task
from clipstyler_server.workers.optimizer.client import OptimizerClient
from clipstyler_server.workers.optimizer.default import local_optimizer
from clipstyler_server.workers.optimizer.inbox import Abandon, Inbox
from clipstyler_server.workers.optimizer.pool import OptimizerPool
from clipstyler_server.workers.optimizer.rounds import work
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, WorkloadFactory
from clipstyler_server.workers.supervisor import SupervisionTimeouts

from clipstyler.config import Calibration
from clipstyler.imaging import Picture
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
from tests.service import scripted
from tests.service.harness import eventually

ENGINES = ("scripted", "local", "ray")
LEASE_S = 2.0
_LIMITS = SpecLimits()
_CALIBRATIONS = {"scripted": Calibration()}


class ThreadChild:
    """A worker on threads of this process: the interface of a child process without the process."""

    def __init__(
        self, options: OptimizerOptions, make_workload: WorkloadFactory, on_message: Callable[[Any], None]
    ) -> None:
        self.ended = asyncio.Event()
        self.pid = None
        self.lost_with_machine = False
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(options.spool)
        self._load = partial(make_workload, options)
        self._commands: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs: set[str] = set()

    async def start(self) -> None:
        for target in (self._run, self._obey):
            threading.Thread(target=target, daemon=True).start()

    def send(self, message: Any) -> None:
        self._jobs |= {message.job_id} if isinstance(message, Task) else set()
        self._commands.put(message)

    def kill(self) -> None:
        for job_id in self._jobs:
            self._commands.put(Abandon(job_id))  # or its thread would go on
        self.ended.set()

    async def stop(self) -> None:
        self.kill()

    def describe_end(self) -> str:
        return "was killed by SIGKILL"

    def _run(self) -> None:
        work(self._inbox, self._load, self._receive)
        self._loop.call_soon_threadsafe(self.ended.set)  # it could not start

    def _receive(self, message: Any) -> None:
        with suppress(RuntimeError):  # the loop of the test is closed
            self._loop.call_soon_threadsafe(self._pass_on, message)

    def _pass_on(self, message: Any) -> None:
        if not self.ended.is_set():
            self._on_message(message)

    def _obey(self) -> None:
        while True:
            self._inbox.receive(self._commands.get())


@dataclass
class Rig:
    """A running engine of two devices."""

    kind: str
    pool: OptimizerPool
    spool: Spool
    supervising: asyncio.Task[None]

    def task(self, text: str, timeout_s: float = 60, **fields: Any) -> Task:
        """A task of three steps unless `steps` says otherwise."""
        result_size = fields.pop("result_size", (64, 48))
        previews = {"every_steps": 1, "max_size": 64}
        options = {"size": 64, "steps": 3, "patches": 2, "seed": 1} | fields
        spec = resolve_spec(SpecRequest(text, options=options, previews=previews), _CALIBRATIONS, _LIMITS)
        picture = Picture(np.zeros((48, 64, 3), np.uint8))
        return Task(str(uuid.uuid4()), spec, picture, timeout_s, result_size)

    async def events(self, task: Task) -> list[Any]:
        return [event async for event in self.pool.run(task)]

    async def ready(self) -> None:
        await eventually(lambda: self.pool.ready_count == len(self.pool.workers), 60)


def options(folder: Path, encoder_sets: tuple[str, ...]) -> OptimizerOptions:
    return OptimizerOptions(
        encoder_sets=encoder_sets,
        device="cpu",
        threads=1,
        nice=0,
        cache=folder / "cache",
        spool=Spool(folder / "spool"),
        direction_bytes=0,
        log_level="warning",
        log_format="json",
    )


@asynccontextmanager
async def rig(
    kind: str,
    folder: Path,
    address: str = "",
    encoder_sets: tuple[str, ...] = ("scripted",),
    stall_s: float = 60,
    lease_s: float = LEASE_S,
    runs_per_device: int = 1,
) -> AsyncIterator[Rig]:
    """Run an engine until the block ends."""
    chosen, metrics, changes = options(folder, encoder_sets), Metrics(), ChangeSignal()
    match kind:
        case "scripted":
            make_child = partial(ThreadChild, chosen, scripted.make)
        case "local":
            make_child = local_optimizer(chosen, scripted.make)
        case _:
            connection = ClusterConnection(address)
            make_child = partial(ClusterWorker, connection, {"CPU": 1.0}, chosen, scripted.make, lease_s)
    timeouts = SupervisionTimeouts(start_s=60, stall_s=stall_s, restart_delay_s=0.05)
    workers = [
        OptimizerClient(
            f"{kind}/{number}",
            make_child,
            timeouts,
            metrics,
            changes,
            is_one_of_several=True,
            most_runs=runs_per_device,
        )
        for number in range(2)
    ]
    pool = OptimizerPool(workers)
    supervising = asyncio.create_task(pool.supervise())
    try:
        yield Rig(kind, pool, chosen.spool, supervising)
    finally:
        await pool.stop()
        supervising.cancel()
        await asyncio.wait([supervising])
