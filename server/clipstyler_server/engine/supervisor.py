"""Keeps one optimizer process alive, and passes orders to it and events from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clipstyler_server import logs
from clipstyler_server.engine import optimizer
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
)
from clipstyler_server.engine.keeper import Keeper, Patience
from clipstyler_server.engine.workload import OptimizerOptions, WorkloadFactory


class Supervisor(Keeper):
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
        options: OptimizerOptions,
        make_workload: WorkloadFactory,
        patience: Patience,
        on_event: Callable[[EngineEvent], None],
        on_state: Callable[[], None],
    ) -> None:
        super().__init__("optimizer", optimizer.main, (options, make_workload), patience, on_state)
        self.info: WorkerInfo | None = None
        self._on_event = on_event
        self._job_id: str | None = None

    def submit(self, order: Order) -> None:
        """Hand over an order."""
        self._job_id = order.job_id
        self._send(order)

    def cancel(self, job_id: str) -> None:
        """Stop a job within one step."""
        self._send(Cancel(job_id))

    def _is_busy(self) -> bool:
        return self._job_id is not None

    def _take(self, message: Any) -> None:
        if isinstance(message, WorkerReady):
            self.info = message.info
            self._ready()
            logs.get_logger().info(
                "worker_ready", pid=self.pid, device=message.info.device, threads=message.info.threads
            )
        elif isinstance(message, Finished | Stopped | Broke):
            self._job_id = None
        self._on_event(message)

    def _drop(self, problem: str) -> None:
        if self._job_id is not None:
            logs.get_logger().error("job_lost", job_id=self._job_id)
        self._job_id = None
        self._on_event(WorkerLost(problem))
