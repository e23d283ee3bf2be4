"""Keeps one process alive, whatever it does: starts it, and starts it again when it crashes or hangs."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipstyler_server import logs
from clipstyler_server.engine.base import WorkerState, WorkerUnfit
from clipstyler_server.engine.process import ChildProcess
from clipstyler_server.engine.workload import UnfitError

_LONGEST_DELAY_S = 30.0
# A process that lived this long was sound: its next restart begins with the shortest delay again.
_SOUND_LIFE_S = 60.0


@dataclass(frozen=True)
class Patience:
    """Seconds the keeper waits: for the start, for a sign of life at work, and before the first restart."""

    start_s: float
    stall_s: float
    restart_delay_s: float


class Keeper(ABC):
    """What the processes that compute have in common, seen from the front.

    Parameters
    ----------
    kind
        For `ps` and logs, such as "optimizer".
    target, arguments
        What the process runs.
    patience
        When it counts as hung, and how soon it is started again.
    on_state
        Called when `state` has changed.

    Attributes
    ----------
    state
        Of the process now.
    restarts
        Times it was started again.
    """

    def __init__(
        self,
        kind: str,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        patience: Patience,
        on_state: Callable[[], None],
    ) -> None:
        self.state = WorkerState.STARTING
        self.restarts = 0
        self._kind = kind
        self._target = target
        self._arguments = arguments
        self._patience = patience
        self._on_state = on_state
        self._child: ChildProcess | None = None
        self._was_ready = False
        self._last_sign = 0.0
        self._unfit: str | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Process id; None before the first start."""
        return self._child.pid if self._child else None

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
            if self._unfit is not None and not self._was_ready:
                raise UnfitError(self._unfit)
            if loop.time() - begun > _SOUND_LIFE_S:
                delay_s = self._patience.restart_delay_s
            self._lost(self._unfit or problem, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            self.restarts += 1

    async def stop(self) -> None:
        """End the process and do not start it again."""
        self._stopping = True
        if self._child and not self._child.ended.is_set():
            await self._child.stop()

    @abstractmethod
    def _is_busy(self) -> bool:
        """Whether the process has work, so that silence means trouble."""

    @abstractmethod
    def _take(self, message: Any) -> None:
        """Take a message of the process."""

    @abstractmethod
    def _drop(self, problem: str) -> None:
        """Give up what the process was doing: it is gone."""

    async def _live(self) -> str:
        """Start a process and see it through to its end; returns how it ended."""
        loop = asyncio.get_running_loop()
        self._set_state(WorkerState.STARTING)
        child = self._child = ChildProcess(f"clipstyler-{self._kind}", self._target, self._arguments, self._receive)
        self._last_sign = loop.time()
        await child.start()
        hung = ""
        while not child.ended.is_set():
            silent_s, limit_s = self._silence()
            if silent_s >= limit_s and not hung:
                hung = f"gave no sign of life for {limit_s:g} s and was killed"
                child.kill()
            # Awake often enough to see a limit that changes meanwhile, when the start is over or work comes.
            nap_s = min(self._patience.start_s, self._patience.stall_s, max(limit_s - silent_s, 0.05))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.ended.wait(), nap_s)
        return hung or child.describe_end()

    def _silence(self) -> tuple[float, float]:
        """Seconds since the last sign of life, and how many are too many; an idle process may be silent."""
        if self.state is WorkerState.READY and not self._is_busy():
            return 0.0, self._patience.stall_s
        limit_s = self._patience.start_s if self.state is WorkerState.STARTING else self._patience.stall_s
        return asyncio.get_running_loop().time() - self._last_sign, limit_s

    def _receive(self, message: Any) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        if isinstance(message, WorkerUnfit):
            self._unfit = message.problem
            return
        self._take(message)

    def _ready(self) -> None:
        self._was_ready = True
        self._set_state(WorkerState.READY)

    def _lost(self, problem: str, delay_s: float) -> None:
        logs.get_logger().error("worker_lost", kind=self._kind, problem=problem, restart_in_s=delay_s)
        self._set_state(WorkerState.CRASHED)
        self._drop(problem)

    def _set_state(self, state: WorkerState) -> None:
        if state is not self.state:
            self.state = state
            self._on_state()

    def _send(self, message: object) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        if self._child:
            self._child.send(message)
