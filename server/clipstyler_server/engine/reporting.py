"""Puts the quality of a result between its end in the optimizer and the end that its readers are told."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from clipstyler_server import logs
from clipstyler_server.engine.base import (
    Cautioned,
    Engine,
    EngineEvent,
    Finished,
    Order,
    WorkerInfo,
    WorkerLost,
    WorkerState,
)
from clipstyler_server.engine.evaluation import Measure
from clipstyler_server.engine.evaluator_link import EvaluatorLink
from clipstyler_server.errors import ServiceError

REPORT_SEED = 0


class ReportingEngine:
    """An engine whose results carry their quality. A result without one still arrives, after a warning.

    Parameters
    ----------
    engine
        Does the work; its events are given to `handle`.
    evaluator
        Measures.
    timeout_s
        Seconds that a result may be held back.
    on_event
        Called with every event, as the engine would.
    """

    def __init__(
        self, engine: Engine, evaluator: EvaluatorLink, timeout_s: float, on_event: Callable[[EngineEvent], None]
    ) -> None:
        self._engine = engine
        self._evaluator = evaluator
        self._timeout_s = timeout_s
        self._on_event = on_event
        self._order: Order | None = None
        self._reports: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> WorkerState:
        """State of the engine."""
        return self._engine.state

    @property
    def info(self) -> WorkerInfo | None:
        """What the engine is."""
        return self._engine.info

    @property
    def restarts(self) -> int:
        """Times the engine was started again."""
        return self._engine.restarts

    def submit(self, order: Order) -> None:
        """Hand over an order, and remember what its result is measured against."""
        self._order = order
        self._engine.submit(order)

    def cancel(self, job_id: str) -> None:
        """Stop a job within one step; one whose result is being measured is over already."""
        self._engine.cancel(job_id)

    def handle(self, event: EngineEvent) -> None:
        """Pass an event of the engine on; a result is measured first."""
        order = self._order
        if isinstance(event, Finished) and order is not None and order.job_id == event.job_id:
            task = asyncio.create_task(self._report(order, event))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)
        elif not (isinstance(event, WorkerLost) and self._reports):
            # An engine that is lost while its last result is measured has lost no job: the result is here.
            self._on_event(event)

    async def _report(self, order: Order, finished: Finished) -> None:
        task = Measure(
            encoders=order.encoders,
            content=order.picture,
            stylized=finished.image.data,
            style_text=order.style_text,
            source_text=order.source_text,
            seed=REPORT_SEED,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                quality = await self._evaluator.ask(task)
        except TimeoutError:
            self._caution(order, f"measuring it takes longer than {self._timeout_s:g} s")
        except ServiceError as error:
            self._caution(order, error.message)
        else:
            finished = dataclasses.replace(finished, quality=quality)
        self._on_event(finished)

    def _caution(self, order: Order, problem: str) -> None:
        logs.get_logger().warning("quality_not_measured", job_id=order.job_id, problem=problem)
        self._on_event(Cautioned(order.job_id, "QUALITY_NOT_MEASURED", f"the result has no quality report: {problem}"))
