"""Supervises one process: starts it, and restarts it when it crashes, hangs or cannot be started."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.workers.child import Child, MakeChild
from clipstyler_server.workers.engine import StartupError, WorkerState
from clipstyler_server.workers.messages import CannotStart

# Whatever prevents a start, work goes on this soon after its end.
_LONGEST_DELAY_S = 1.0
# After a process that lived this long, the next restart uses the shortest delay again.
_HEALTHY_LIFE_S = 60.0


@dataclass(frozen=True)
class SupervisionTimeouts:
    """Seconds to wait: for the start, for a sign of life of a busy process, and before the first restart."""

    start_s: float
    stall_s: float
    restart_delay_s: float


class ProcessSupervisor(ABC):
    """What supervised processes have in common, seen from the front process.

    Parameters
    ----------
    kind
        For `ps`, logs and metrics, such as "optimizer".
    place
        Which of several of its kind it is, for logs and problems: "" for the only one, else such as "on cuda:1".
    make_child
        Makes the process.
    timeouts
        When it counts as hung, and how soon it is restarted.
    metrics
        Counts lost processes.
    changes
        Notified when `state` changes.

    Attributes
    ----------
    state
        Of the process now.
    restarts
        Times that it was restarted.
    """

    def __init__(
        self,
        kind: str,
        make_child: MakeChild,
        timeouts: SupervisionTimeouts,
        metrics: Metrics,
        changes: ChangeSignal,
        place: str = "",
    ) -> None:
        self.state = WorkerState.STARTING
        self.restarts = 0
        self._kind = kind
        self._place = place
        self._make_child = make_child
        self._timeouts = timeouts
        self._metrics = metrics
        self._changes = changes
        self._child: Child | None = None
        self._ready = asyncio.Event()
        self._tried = asyncio.Event()
        self._was_ready = False
        self._last_sign = 0.0
        self._cannot_start: CannotStart | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Process id; None before the first start."""
        return self._child.pid if self._child else None

    def problems(self) -> list[str]:
        """Return why the process takes no work; empty if it does."""
        return [] if self.state is WorkerState.READY else [f"the {self._title} {self.state.in_words}"]

    async def wait_ready(self) -> None:
        """Wait until the process takes work."""
        await self._ready.wait()

    async def wait_tried(self) -> None:
        """Wait until the process was ready or lost for the first time."""
        await self._tried.wait()

    async def supervise(self) -> None:
        """Keep the process alive until `stop`.

        Raises
        ------
        StartupError
            The first process reports that it cannot start, and that retrying would not help.
        """
        loop = asyncio.get_running_loop()
        delay_s = self._timeouts.restart_delay_s
        while not self._stopping:
            begun = loop.time()
            problem = await self._live()
            if self._stopping:
                return
            refused = self._cannot_start
            if refused and not refused.is_transient and not self._was_ready:
                raise StartupError(refused.problem)
            if loop.time() - begun > _HEALTHY_LIFE_S:
                delay_s = self._timeouts.restart_delay_s
            self._lost(f"could not start: {refused.problem}" if refused else problem, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            self.restarts += 1

    async def stop(self) -> None:
        """End the process and do not restart it."""
        self._stopping = True
        if self._child and not self._child.ended.is_set():
            await self._child.stop()

    def kill(self) -> None:
        """Kill the process; it is restarted."""
        if self._child:
            self._child.kill()

    @property
    def _title(self) -> str:
        return f"{self._kind} {self._place}" if self._place else self._kind

    @abstractmethod
    def _is_busy(self) -> bool:
        """Return whether the process has work, so that silence means trouble."""

    @abstractmethod
    def _take(self, message: Any) -> None:
        """Handle a message of the process."""

    @abstractmethod
    def _drop(self, problem: str) -> None:
        """Give up what the process was doing, because it has exited."""

    async def _live(self) -> str:
        """Start a process and follow it to its end; returns how it ended."""
        loop = asyncio.get_running_loop()
        self._set_state(WorkerState.STARTING)
        self._cannot_start = None
        self._last_sign = loop.time()
        try:
            child = self._child = self._make_child(self._receive)
            await child.start()
            self._last_sign = loop.time()
        except (OSError, RuntimeError) as error:  # no descriptor, no memory, no thread is free
            return f"could not be started ({getattr(error, 'strerror', None) or error})"
        hung = ""
        while not child.ended.is_set():
            silent_s, limit_s = self._silence()
            if silent_s >= limit_s and not hung:
                hung = f"gave no sign of life for {limit_s:g} s and was killed"
                self.kill()
            # Awake often enough to see a limit that changes meanwhile, when the start ends or work arrives.
            nap_s = min(self._timeouts.start_s, self._timeouts.stall_s, max(limit_s - silent_s, 0.05))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.ended.wait(), nap_s)
        return hung or child.describe_end()

    def _silence(self) -> tuple[float, float]:
        """Return the seconds since the last sign of life, and the limit; an idle process may be silent."""
        if self.state is WorkerState.READY and not self._is_busy():
            return 0.0, self._timeouts.stall_s
        limit_s = self._timeouts.start_s if self.state is WorkerState.STARTING else self._timeouts.stall_s
        return asyncio.get_running_loop().time() - self._last_sign, limit_s

    def _receive(self, message: Any) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        if isinstance(message, CannotStart):
            self._cannot_start = message
            return
        self._take(message)

    def _enter_ready(self) -> None:
        self._was_ready = True
        self._set_state(WorkerState.READY)

    def _lost(self, problem: str, delay_s: float) -> None:
        logs.get_logger().error("worker_lost", kind=self._title, problem=problem, restart_in_s=delay_s)
        self._metrics.worker_lost(self._kind)
        self._set_state(WorkerState.CRASHED)
        self._drop(problem)

    def _set_state(self, state: WorkerState) -> None:
        if state is not self.state:
            self.state = state
            self._changes.notify()
        if state is not WorkerState.STARTING:
            self._tried.set()
        if state is WorkerState.READY:
            self._ready.set()
        else:
            self._ready.clear()

    def _send(self, message: object) -> None:
        """Pass a message on; work that it brings counts as the process's only after that."""
        if not self._is_busy():  # else ever new work would hide that the process is silent
            self._last_sign = asyncio.get_running_loop().time()
        if self._child:
            self._child.send(message)
