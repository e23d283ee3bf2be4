"""The evaluator as the front process sees it: ask, and wait for the answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from clipstyler_server.errors import Reason, ServiceError, error, internal, invalid
from clipstyler_server.observability import logs
from clipstyler_server.observability.changes import ChangeSignal
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import traced
from clipstyler_server.workers.engine import WorkerState
from clipstyler_server.workers.evaluator.messages import (
    Answer,
    EncoderFacts,
    EvaluatorOptions,
    EvaluatorReady,
    Refusal,
    Request,
    Task,
)
from clipstyler_server.workers.process import ChildProcess
from clipstyler_server.workers.supervisor import ProcessSupervisor, SupervisionTimeouts

_MAX_WAITING = 128
_RETRY_S = 2.0


def _run(connection: Any, options: EvaluatorOptions) -> None:
    # Imported in the process: the front process never loads ONNX Runtime.
    from clipstyler_server.workers.evaluator import process

    process.main(connection, options)


class EvaluatorClient(ProcessSupervisor):
    """Passes tasks to the evaluator.

    Parameters
    ----------
    options
        What the process runs with.
    timeouts
        When it counts as hung, and how soon it is restarted.
    metrics
        Counts lost processes, and records active backends.
    changes
        Notified when `state` changes.

    Attributes
    ----------
    facts
        Its encoder sets by name, in order; empty until it was ready once.
    """

    def __init__(
        self, options: EvaluatorOptions, timeouts: SupervisionTimeouts, metrics: Metrics, changes: ChangeSignal
    ) -> None:
        super().__init__("evaluator", self._make_evaluator, timeouts, metrics, changes)
        self._options = options
        self.facts: dict[str, EncoderFacts] = {}
        self._numbers = itertools.count(1)
        # A task stays here until it is answered, also when its caller has left: that is how silence is noticed.
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def check_ready(self) -> None:
        """Raise `ServiceError` unless the evaluator takes tasks."""
        if self.state is not WorkerState.READY:
            raise error(
                Reason.WORKER_NOT_READY,
                "the evaluator {state}: retry in a moment",
                retry_delay_s=_RETRY_S,
                state=self.state.in_words,
            )

    async def ask(self, task: Task) -> Any:
        """Have a task computed; the task's class documents its answer.

        Raises
        ------
        ServiceError
            INVALID_FIELD, WORKER_NOT_READY, WORKER_CRASHED, EVALUATIONS_FULL or INTERNAL.
        """
        self.check_ready()
        if len(self._waiting) >= _MAX_WAITING:
            raise error(
                Reason.EVALUATIONS_FULL,
                "{count} evaluations are waiting, which is the limit: try again later",
                retry_delay_s=_RETRY_S,
                count=_MAX_WAITING,
            )
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._send(Request(number, task, logs.context()))
        self._waiting[number] = answer
        with traced("evaluate", task=type(task).__name__):
            return await answer

    def _make_evaluator(self, on_message: Callable[[Any], None]) -> ChildProcess:
        return ChildProcess("clipstyler-evaluator", _run, (self._options,), on_message)

    def _is_busy(self) -> bool:
        return bool(self._waiting)

    def _take(self, message: EvaluatorReady | Answer | Refusal) -> None:
        if isinstance(message, EvaluatorReady):
            self._options = replace(self._options, proven=message.proven)
            self.facts = {facts.name: facts for facts in message.facts}
            self._enter_ready()
            backends = {facts.name: facts.backend for facts in message.facts}
            self._metrics.evaluator_ready(backends)
            logs.get_logger().info("evaluator_ready", pid=self.pid, backends=backends)
            return
        waiting = self._waiting.pop(message.number)
        if waiting.done():  # the caller has left
            return
        if isinstance(message, Answer):
            waiting.set_result(message.value)
        elif message.violations:
            waiting.set_exception(invalid(*message.violations))
        else:
            waiting.set_exception(internal(f"evaluation {message.number}"))

    def _drop(self, problem: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_crashed(problem))
        self._waiting.clear()


def _crashed(problem: str) -> ServiceError:
    return error(
        Reason.WORKER_CRASHED,
        "the evaluator {problem} and is being restarted: retry in a moment",
        retry_delay_s=_RETRY_S,
        problem=problem,
    )
