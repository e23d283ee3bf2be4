"""The evaluator process: embeds, finds text directions and measures, on ONNX Runtime if possible.

A reading thread receives tasks. Short ones go to a worker thread that batches what arrives together; long ones have a
thread of their own, so that no embedding waits behind a report. When the front process exits, so does this one.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from clipstyler.options import ConfigError
from clipstyler_server.observability import logs
from clipstyler_server.workers.channel import Channel
from clipstyler_server.workers.ending_signals import leave_to_the_front
from clipstyler_server.workers.engine import StartupError
from clipstyler_server.workers.evaluator.messages import (
    Answer,
    Classify,
    EvaluatorOptions,
    EvaluatorReady,
    Measure,
    Refusal,
    Request,
)
from clipstyler_server.workers.evaluator.tasks import TaskRunner
from clipstyler_server.workers.messages import Shutdown
from clipstyler_server.workers.startup import cannot_start

_MAX_BATCH = 64  # requests per batch


def main(connection: Connection[Any, Any], options: EvaluatorOptions) -> None:
    """Run the process: load the encoders, then run tasks until the front process exits."""
    leave_to_the_front()
    faulthandler.enable()
    os.nice(options.nice)
    logs.configure(options.log_level, options.log_format, "evaluator")
    inbox: queue.SimpleQueue[Request] = queue.SimpleQueue()
    channel = Channel(connection, partial(_receive, inbox), partial(os._exit, 0))
    channel.start()
    try:
        tasks = TaskRunner(options)
    except (StartupError, OSError) as error:
        channel.send(cannot_start(error))
        channel.flush(timeout_s=5)
        return
    quick = BatchWorker(tasks.run_batch, channel.send, options.batch_wait_s)
    slow = BatchWorker(tasks.run_batch, channel.send, 0.0)
    for worker in (quick, slow):
        worker.start()
    channel.send(EvaluatorReady(tasks.facts, tasks.proven))
    while True:
        request = inbox.get()
        worker = slow if isinstance(request.task, Measure | Classify) else quick
        worker.put(request)


def _receive(inbox: queue.SimpleQueue[Request], message: Request | Shutdown) -> None:
    if isinstance(message, Shutdown):
        os._exit(0)
    inbox.put(message)


class BatchWorker(threading.Thread):
    """Runs tasks in order, those in one batch that arrive within a bounded delay.

    Parameters
    ----------
    run_batch
        Runs tasks together; returns one outcome each: a value, or the exception that the task raised.
    send
        Receives the answers.
    wait_s
        Maximum batching delay in seconds.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Any]], list[Any]],
        send: Callable[[Answer | Refusal], None],
        wait_s: float,
    ) -> None:
        super().__init__(daemon=True)
        self._run_batch = run_batch
        self._send = send
        self._wait_s = wait_s
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def put(self, request: Request) -> None:
        """Queue a task."""
        self._requests.put(request)

    def run(self) -> None:
        """Work until the process exits."""
        while True:
            requests = self.gather()
            outcomes = self._run_batch([request.task for request in requests])
            for request, outcome in zip(requests, outcomes, strict=True):
                with logs.in_context(request.log_context):
                    self._send(_answer(request.number, outcome))

    def gather(self) -> list[Request]:
        """Wait for a task, then for others to batch with it, within the delay."""
        found = [self._requests.get()]
        until = time.monotonic() + self._wait_s
        while len(found) < _MAX_BATCH and (left_s := until - time.monotonic()) > 0:
            try:
                found.append(self._requests.get(timeout=left_s))
            except queue.Empty:
                break
        return found


def _answer(number: int, outcome: Any) -> Answer | Refusal:
    if isinstance(outcome, ConfigError):
        return Refusal(number, outcome.violations)
    if isinstance(outcome, Exception):
        logs.get_logger().error("evaluation_failed", exc_info=outcome)
        return Refusal(number, ())
    return Answer(number, outcome)
