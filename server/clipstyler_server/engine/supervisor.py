"""Keeps one optimiser process alive: starts it, passes messages, and starts it again when it crashes or hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipstyler_server import logs
from clipstyler_server.engine import optimiser
from clipstyler_server.engine.base import (
    Broke,
    Cancel,
    EngineEvent,
    Finished,
    Order,
    Stopped,
    WorkerInfo,
    WorkerLost,
    WorkerReady,
    WorkerState,
    WorkerUnfit,
)
from clipstyler_server.engine.process import ChildProcess
from clipstyler_server.engine.workload import OptimiserOptions, UnfitError, WorkloadFactory

_LONGEST_DELAY_S = 30.0
# A process that lived this long was sound: its next restart begins with the shortest delay again.
_SOUND_LIFE_S = 60.0


@dataclass(frozen=True)
class Patience:
    """Seconds the supervisor waits: for the start, for a step, and before the first restart."""

    start_s: float
    stall_s: float
    restart_delay_s: float


class Supervisor:
    """The engine as the front sees it; see `engine.base.Engine`.

    Parameters
    ----------
    options, make_workload
        What the process runs.
    patience
        When it counts as hung, and how soon it is started again.
    on_event
        Called with every event of the engine.
    on_state
        Called when `state` has changed, before the event that tells why.
    """

    def __init__(
        self,
        options: OptimiserOptions,
        make_workload: WorkloadFactory,
        patience: Patience,
        on_event: Callable[[EngineEvent], None],
        on_state: Callable[[], None],
    ) -> None:
        self.state = WorkerState.STARTING
        self.info: WorkerInfo | None = None
        self.restarts = 0
        self._arguments = (options, make_workload)
        self._patience = patience
        self._on_event = on_event
        self._on_state = on_state
        self._child: ChildProcess | None = None
        self._job_id: str | None = None
        self._last_sign = 0.0
        self._unfit: str | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Process id of the optimiser."""
        return self._child.pid if self._child else None

    def submit(self, order: Order) -> None:
        """Hand over an order."""
        self._job_id = order.job_id
        self._send(order)

    def cancel(self, job_id: str) -> None:
        """Stop a job within one step."""
        self._send(Cancel(job_id))

    async def run(self) -> None:
        """Keep the process alive until `stop`.

        Raises
        ------
        UnfitError
            The first process says that it cannot start, and that trying again would not help.
        """
        loop = asyncio.get_running_loop()
        delay_s = self._patience.restart_delay_s
        while not self._stopping:
            begun = loop.time()
            problem = await self._live()
            if self._stopping:
                return
            if self._unfit is not None and self.info is None:
                raise UnfitError(self._unfit)
            if loop.time() - begun > _SOUND_LIFE_S:
                delay_s = self._patience.restart_delay_s
            self._lost(problem, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            self.restarts += 1

    async def stop(self) -> None:
        """End the process and do not start it again."""
        self._stopping = True
        if self._child and not self._child.ended.is_set():
            await self._child.stop()

    async def _live(self) -> str:
        """Start a process and see it through to its end; returns how it ended."""
        loop = asyncio.get_running_loop()
        self._set_state(WorkerState.STARTING)
        child = self._child = ChildProcess("clipstyler-optimiser", optimiser.main, self._arguments, self._receive)
        self._last_sign = loop.time()
        await child.start()
        hung = ""
        while not child.ended.is_set():
            silent_s, limit_s = self._silence()
            if silent_s >= limit_s and not hung:
                hung = f"gave no sign of life for {limit_s:g} s and was killed"
                child.kill()
            # Awake often enough to see a limit that changes meanwhile, when the start is over or an order comes.
            nap_s = min(self._patience.start_s, self._patience.stall_s, max(limit_s - silent_s, 0.05))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.ended.wait(), nap_s)
        return hung or child.describe_end()

    def _silence(self) -> tuple[float, float]:
        """Seconds since the last sign of life, and how many are too many; an idle worker may be silent."""
        if self.state is WorkerState.READY and self._job_id is None:
            return 0.0, self._patience.stall_s
        limit_s = self._patience.start_s if self.state is WorkerState.STARTING else self._patience.stall_s
        return asyncio.get_running_loop().time() - self._last_sign, limit_s

    def _receive(self, message: Any) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        if isinstance(message, WorkerUnfit):
            self._unfit = message.problem
            return
        if isinstance(message, WorkerReady):
            self.info = message.info
            self._set_state(WorkerState.READY)
            logs.get_logger().info(
                "worker_ready", pid=self.pid, device=message.info.device, threads=message.info.threads
            )
        elif isinstance(message, Finished | Stopped | Broke):
            self._job_id = None
        self._on_event(message)

    def _lost(self, problem: str, delay_s: float) -> None:
        problem = self._unfit or problem
        logs.get_logger().error("worker_lost", problem=problem, job_id=self._job_id, restart_in_s=delay_s)
        self._job_id = None
        self._set_state(WorkerState.CRASHED)
        self._on_event(WorkerLost(problem))

    def _set_state(self, state: WorkerState) -> None:
        if state is not self.state:
            self.state = state
            self._on_state()

    def _send(self, message: object) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        if self._child:
            self._child.send(message)
