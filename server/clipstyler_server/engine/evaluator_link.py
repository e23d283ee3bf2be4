"""The evaluator as the front sees it: ask, and wait for the answer; the process is kept alive meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from clipstyler_server import logs
from clipstyler_server.engine import evaluation
from clipstyler_server.engine.base import WorkerState
from clipstyler_server.engine.evaluation import Answer, EncoderFacts, EvaluatorOptions, EvaluatorReady, Refusal
from clipstyler_server.engine.keeper import Keeper, Patience
from clipstyler_server.errors import Reason, ServiceError, Violation, internal, invalid

_MOST_WAITING = 128
_RETRY_S = 2.0


def _run(connection: Any, options: EvaluatorOptions) -> None:
    # Imported over there: the front never loads ONNX Runtime.
    from clipstyler_server.engine import evaluator  # noqa: PLC0415

    evaluator.main(connection, options)


class EvaluatorLink(Keeper):
    """Passes tasks to the evaluator.

    Parameters
    ----------
    options
        What the process runs with.
    patience
        When it counts as hung, and how soon it is started again.
    on_state
        Called when `state` has changed.

    Attributes
    ----------
    facts
        Its encoders by name, in order; empty until it was ready once.
    """

    def __init__(self, options: EvaluatorOptions, patience: Patience, on_state: Callable[[], None]) -> None:
        super().__init__("evaluator", _run, (options,), patience, on_state)
        self.facts: dict[str, EncoderFacts] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def check_ready(self) -> None:
        """Raise `ServiceError` unless the evaluator takes tasks."""
        if self.state is not WorkerState.READY:
            raise ServiceError(
                Reason.WORKER_NOT_READY,
                f"the evaluator {self.state.in_words}: try again in a moment",
                retry_delay_s=_RETRY_S,
            )

    async def ask(self, task: evaluation.Task) -> Any:
        """Have a task carried out; what comes back is told at the task.

        Raises
        ------
        ServiceError
            INVALID_FIELD, WORKER_NOT_READY, WORKER_CRASHED, QUEUE_FULL or INTERNAL.
        """
        self.check_ready()
        if len(self._waiting) >= _MOST_WAITING:
            raise ServiceError(
                Reason.QUEUE_FULL, f"{_MOST_WAITING} evaluations wait already: try again later", retry_delay_s=_RETRY_S
            )
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._send(evaluation.Request(number, task))
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def _is_busy(self) -> bool:
        return bool(self._waiting)

    def _take(self, message: EvaluatorReady | Answer | Refusal) -> None:
        if isinstance(message, EvaluatorReady):
            self.facts = {facts.name: facts for facts in message.facts}
            self._ready()
            backends = {facts.name: facts.backend for facts in message.facts}
            logs.get_logger().info("evaluator_ready", pid=self.pid, backends=backends)
            return
        waiting = self._waiting.get(message.number)
        if waiting is None or waiting.done():
            return
        if isinstance(message, Answer):
            waiting.set_result(message.value)
        elif message.field:
            waiting.set_exception(invalid(Violation(message.field, message.problem)))
        else:
            waiting.set_exception(internal(f"evaluation {message.number}"))

    def _drop(self, problem: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                error = ServiceError(
                    Reason.WORKER_CRASHED,
                    f"the evaluator {problem} and is started again: try again in a moment",
                    retry_delay_s=_RETRY_S,
                )
                waiting.set_exception(error)
