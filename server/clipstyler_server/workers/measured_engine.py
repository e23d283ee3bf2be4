"""An engine whose results carry a quality report. A result that cannot be measured still arrives, after a warning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from clipstyler.evaluation.quality import QualityReport
from clipstyler.events import Optimized, Result, Warning
from clipstyler.imaging import Picture
from clipstyler_server.errors import ServiceError
from clipstyler_server.observability import logs
from clipstyler_server.observability.traces import traced
from clipstyler_server.workers.engine import Engine, EngineEvent, Task
from clipstyler_server.workers.evaluator.client import EvaluatorClient
from clipstyler_server.workers.evaluator.messages import Measure

REPORT_SEED = 0


class MeasuredEngine:
    """Measures the results of an engine.

    Parameters
    ----------
    engine
        Does the work.
    evaluator
        Measures.
    timeout_s
        Seconds that a result may be held back.
    """

    def __init__(self, engine: Engine, evaluator: EvaluatorClient, timeout_s: float) -> None:
        self._engine = engine
        self._evaluator = evaluator
        self._timeout_s = timeout_s

    def cancel(self, job_id: str) -> None:
        """Stop a task soon, also within a step; one whose result is being measured has finished."""
        self._engine.cancel(job_id)

    async def run(self, task: Task) -> AsyncGenerator[EngineEvent, None]:
        """Run a task; its result is measured, while it is drawn, before it is passed on."""
        measuring: asyncio.Task[QualityReport | Warning] | None = None
        try:
            async with aclosing(self._engine.run(task)) as events:
                async for event in events:
                    if isinstance(event, Optimized):
                        measuring = asyncio.create_task(self._measure(task, event.image))
                    if not (isinstance(event, Result) and measuring):
                        yield event
                        continue
                    measured = await measuring
                    if isinstance(measured, Warning):
                        yield measured
                        yield event
                    else:
                        yield replace(event, quality=measured)
        finally:
            if measuring:
                measuring.cancel()

    async def _measure(self, task: Task, stylized: Picture) -> QualityReport | Warning:
        measurement = Measure(
            encoder_set=task.spec.encoder_set,
            content=task.picture,
            stylized=stylized,
            style_text=task.spec.style_text,
            source_text=task.spec.source_text,
            seed=REPORT_SEED,
            strict=False,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                with traced("report"):
                    report: QualityReport = await self._evaluator.ask(measurement)
                return report
        except TimeoutError:
            problem = f"measuring it takes longer than {self._timeout_s:g} s"
        except ServiceError as error:
            problem = error.details.message
        logs.get_logger().warning("quality_not_measured", job_id=task.job_id, problem=problem)
        return Warning("QUALITY_NOT_MEASURED", f"the result has no quality report: {problem}")
