"""The optimizers of a server as one engine: a task goes to a free device; a lost device fails only its own tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from clipstyler_server.spool import MaskFile, PixelFile
from clipstyler_server.workers.engine import (
    DeviceStatus,
    EngineEvent,
    EngineInfo,
    EngineLost,
    Task,
    WorkerState,
)
from clipstyler_server.workers.optimizer.client import OptimizerClient

_BEST_FIRST = (WorkerState.READY, WorkerState.STARTING, WorkerState.CRASHED)
_NONE_FREE = "is not ready"


class OptimizerPool:
    """See `workers.engine.Engine` and `workers.engine.Devices`.

    Parameters
    ----------
    workers
        One per device; of those that are free, the next task goes to the one that runs least, the first of several.

    Attributes
    ----------
    runs_per_device
        Number of tasks that each runs at a time, at most.
    """

    def __init__(self, workers: Sequence[OptimizerClient]) -> None:
        self.workers = tuple(workers)
        self.runs_per_device = self.workers[0].most_runs
        self._runs: dict[str, OptimizerClient] = {}

    @property
    def state(self) -> WorkerState:
        """READY if one device is; otherwise how they are."""
        present = {worker.state for worker in self.workers}
        return next(state for state in _BEST_FIRST if state in present)

    @property
    def info(self) -> EngineInfo | None:
        """What the engine is, by the first device that was ready once."""
        return next((worker.info for worker in self.workers if worker.info), None)

    @property
    def ready_count(self) -> int:
        """Number of devices that are ready."""
        return sum(worker.state is WorkerState.READY for worker in self.workers)

    @property
    def places(self) -> int:
        """Number of tasks that the devices which are ready run at a time, at most."""
        return self.ready_count * self.runs_per_device

    def statuses(self) -> list[DeviceStatus]:
        """Return how each device is."""
        return [worker.status for worker in self.workers]

    def lost(self) -> list[str]:
        """Return which devices do not work while others do."""
        if self.state is not WorkerState.READY:
            return []
        return [problem for worker in self.workers for problem in worker.problems()]

    async def wait_ready(self) -> None:
        """Wait until a device takes tasks."""
        waiting = [asyncio.ensure_future(worker.wait_ready()) for worker in self.workers]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()

    async def supervise(self) -> None:
        """Keep all processes alive until `stop`.

        Raises
        ------
        StartupError
            One of them reports that it cannot start, and that retrying would not help.
        """
        tasks = [asyncio.create_task(self._supervise(worker)) for worker in self.workers]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def stop(self) -> None:
        """End the processes and do not restart them."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    async def run(self, task: Task) -> AsyncGenerator[EngineEvent, None]:
        """Run a task on a free device and stream its events, the result last."""
        free = [worker for worker in self.workers if worker.is_free]
        if not free:
            raise EngineLost(_NONE_FREE)
        worker = min(free, key=lambda worker: worker.status.running)
        self._runs[task.job_id] = worker
        try:
            async with aclosing(worker.run(task)) as events:
                async for event in events:
                    yield event
        finally:
            del self._runs[task.job_id]

    def cancel(self, job_id: str) -> None:
        """Stop a task soon, also within a step."""
        if worker := self._runs.get(job_id):
            worker.cancel(job_id)

    def provide(self, job_id: str, photo: PixelFile | str, mask: MaskFile | None = None, number: int = 0) -> None:
        """Hand over a photo of a running task, or say why there is none; see `PhotoReady`."""
        if worker := self._runs.get(job_id):
            worker.provide(job_id, photo, mask, number)

    def for_style(self) -> OptimizerClient:
        """Return the device that applies a style soonest: a free one if there is one.

        Raises
        ------
        EngineLost
            None is ready.
        """
        ready = [worker for worker in self.workers if worker.state is WorkerState.READY]
        if not ready:
            raise EngineLost(_NONE_FREE)
        return min(ready, key=lambda worker: (worker.applications + worker.status.running, worker.status.running))

    async def _supervise(self, worker: OptimizerClient) -> None:
        """Start the first one alone: it writes down what it measures, so that the others need not measure beside it."""
        if worker is not self.workers[0]:
            await self.workers[0].wait_tried()
        await worker.supervise()
