"""An optimizer process seen from the front: tasks go in, their events come back as a stream."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from pathlib import Path

from clipstyler.events import Result
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageFile
from clipstyler.style_controls import StyleControls
from clipstyler_server.devices import ANY
from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.spool import MaskFile, PixelFile
from clipstyler_server.workers.child import MakeChild
from clipstyler_server.workers.engine import (
    DeviceStatus,
    EngineEvent,
    EngineInfo,
    EngineLost,
    Task,
    TaskFailed,
    TaskStopped,
    WorkerState,
)
from clipstyler_server.workers.messages import Cancel, DeviceMemory, PhotoReady, TaskEvent, WorkerReady
from clipstyler_server.workers.optimizer.applications import (
    Applied,
    Apply,
    Applying,
    CancelApply,
    StyleFile,
    StyleFileError,
)
from clipstyler_server.workers.supervisor import ProcessSupervisor, SupervisionTimeouts

_Ending = TaskStopped | TaskFailed | EngineLost


class OptimizerClient(ProcessSupervisor):
    """One device of the engine; see `workers.engine.Engine`.

    Parameters
    ----------
    name
        Of the device.
    make_child
        Makes the process.
    timeouts
        When it counts as hung, and how soon it is restarted.
    metrics
        Counts lost processes.
    changes
        Notified when `state` changes.
    is_one_of_several
        Whether there are others, so that problems name the device.
    most_runs
        Number of tasks that it gets at a time, at most.
    """

    def __init__(
        self,
        name: str,
        make_child: MakeChild,
        timeouts: SupervisionTimeouts,
        metrics: Metrics,
        changes: ChangeSignal,
        is_one_of_several: bool = False,
        most_runs: int = 1,
    ) -> None:
        place = f"on {name}" if is_one_of_several else ""
        super().__init__("optimizer", make_child, timeouts, metrics, changes, place)
        self._name = name
        self.info: EngineInfo | None = None
        self.most_runs = most_runs
        # Events of the tasks that it has, by job.
        self._runs: dict[str, asyncio.Queue[EngineEvent | _Ending]] = {}
        self._numbers = itertools.count(1)
        self._applying: dict[int, asyncio.Future[ImageFile | _Ending | StyleFileError]] = {}

    @property
    def name(self) -> str:
        """Name of the device: of the one that was chosen, if that was left to the process."""
        return self.info.device if self.info and self._name == ANY else self._name

    @property
    def status(self) -> DeviceStatus:
        """How the device is now."""
        return DeviceStatus(self.name, self.state, self.info, self.restarts, len(self._runs))

    @property
    def is_free(self) -> bool:
        """Whether it takes one more task."""
        return self.state is WorkerState.READY and len(self._runs) < self.most_runs

    @property
    def applications(self) -> int:
        """Number of photos that it applies styles to, or that wait for that."""
        return len(self._applying)

    async def run(self, task: Task) -> AsyncGenerator[EngineEvent, None]:
        """Run a task and stream its events, the result last."""
        self._send(task)
        arriving: asyncio.Queue[EngineEvent | _Ending] = asyncio.Queue()
        self._runs[task.job_id] = arriving
        finished = False
        try:
            while not finished:
                event = await arriving.get()
                finished = isinstance(event, Result | _Ending)
                if isinstance(event, _Ending):
                    raise event
                yield event
        finally:
            if not finished:
                self.cancel(task.job_id)
            del self._runs[task.job_id]

    def cancel(self, job_id: str) -> None:
        """Stop a task soon, also within a step."""
        self._send(Cancel(job_id))

    def provide(self, job_id: str, photo: PixelFile | str, mask: MaskFile | None = None, number: int = 0) -> None:
        """Hand over a photo of a running task, or say why there is none; see `PhotoReady`."""
        self._send(PhotoReady(job_id, photo, mask, number))

    async def apply(
        self,
        style: StyleFile,
        second: StyleFile | None,
        controls: StyleControls,
        photo: PixelFile,
        result_format: ImageFormat,
        target: Path,
        timeout_s: float,
    ) -> ImageFile:
        """Apply a style to a photo, beside a running task; returns the file of the result. See `Apply`.

        Raises
        ------
        TaskStopped, TaskFailed, StyleFileError, EngineLost
            There is no result.
        """
        number = next(self._numbers)
        self._send(Apply(number, style, second, controls, photo, result_format, target, timeout_s))
        waiting = self._applying[number] = asyncio.get_running_loop().create_future()
        try:
            end = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._send(CancelApply(number))
            await waiting  # soon: from then on, nothing writes the file
            raise
        finally:
            del self._applying[number]
        if isinstance(end, ImageFile):
            return end
        raise end

    def _is_busy(self) -> bool:
        return bool(self._runs or self._applying)

    def _take(self, message: WorkerReady | DeviceMemory | TaskEvent | Applying | Applied) -> None:
        if isinstance(message, DeviceMemory):
            self._metrics.device_memory(self.name, message.sizes)
        elif isinstance(message, WorkerReady):
            self.info = message.info
            self._enter_ready()
            logs.get_logger().info(
                "worker_ready", pid=self.pid, name=self.name, device=message.info.device, threads=message.info.threads
            )
        elif isinstance(message, Applied):
            if (waiting := self._applying.get(message.number)) and not waiting.done():
                waiting.set_result(message.end)
        elif isinstance(message, TaskEvent) and (arriving := self._runs.get(message.job_id)):
            # Late events of a task whose stream was closed belong to no one.
            arriving.put_nowait(message.event)

    def _drop(self, problem: str) -> None:
        lost = EngineLost(
            f"{self._place} {problem}".lstrip(), again=bool(self._child and self._child.lost_with_machine)
        )
        for job_id, arriving in self._runs.items():
            logs.get_logger().error("job_lost", job_id=job_id)
            arriving.put_nowait(lost)
        for waiting in self._applying.values():
            if not waiting.done():
                waiting.set_result(lost)
