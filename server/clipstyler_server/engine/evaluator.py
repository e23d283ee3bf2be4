"""The evaluator's process: encodes, finds directions and measures, on ONNX Runtime where it can.

A reading thread takes tasks. Short ones go to a lane that joins what arrives together into one batch; long ones have
a lane of their own, so that no embedding waits behind a report. When the front is gone, so is this process.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from clipstyler.config import ConfigError
from clipstyler_server import logs
from clipstyler_server.engine.base import Shutdown, WorkerUnfit
from clipstyler_server.engine.channel import Channel
from clipstyler_server.engine.evaluation import (
    Answer,
    Classify,
    EvaluatorOptions,
    EvaluatorReady,
    Measure,
    Refusal,
    Request,
)
from clipstyler_server.engine.measuring import Bench
from clipstyler_server.engine.workload import UnfitError

_MOST_TOGETHER = 64  # requests that one batch may join


def main(connection: Connection[Any, Any], options: EvaluatorOptions) -> None:
    """Run the process: open the encoders, then carry out tasks until the front is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    os.nice(options.nice)
    logs.configure(options.log_level, options.log_format, "evaluator")
    inbox: queue.SimpleQueue[Request] = queue.SimpleQueue()
    channel = Channel(connection, lambda message: _receive(message, inbox), lambda: os._exit(0))
    channel.start()
    try:
        bench = Bench(options)
    except UnfitError as error:
        channel.send(WorkerUnfit(str(error)))
        channel.flush(timeout_s=5)
        return
    quick = Lane(bench.together, channel.send, options.batch_wait_s)
    slow = Lane(bench.together, channel.send, 0.0)
    for lane in (quick, slow):
        lane.start()
    channel.send(EvaluatorReady(bench.facts))
    while True:
        request = inbox.get()
        lane = slow if isinstance(request.task, Measure | Classify) else quick
        lane.put(request)


def _receive(message: Request | Shutdown, inbox: queue.SimpleQueue[Request]) -> None:
    if isinstance(message, Shutdown):
        os._exit(0)
    inbox.put(message)


class Lane(threading.Thread):
    """Carries out tasks in turn, those together that arrive within a bounded wait.

    Parameters
    ----------
    carry_out
        Carries out tasks together; gives one outcome each: a value, or the exception that its task raised.
    send
        Takes the answers.
    wait_s
        How long the first task of a batch waits for others.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Any]], list[Any]],
        send: Callable[[Answer | Refusal], None],
        wait_s: float,
    ) -> None:
        super().__init__(daemon=True)
        self._carry_out = carry_out
        self._send = send
        self._wait_s = wait_s
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def put(self, request: Request) -> None:
        """Hand a task over."""
        self._requests.put(request)

    def run(self) -> None:
        """Work for ever; the process ends with its main thread."""
        while True:
            requests = self.gather()
            outcomes = self._carry_out([request.task for request in requests])
            for request, outcome in zip(requests, outcomes, strict=True):
                self._send(_answer(request.number, outcome))

    def gather(self) -> list[Request]:
        """Wait for a task, then as long as is allowed for others to go with it."""
        found = [self._requests.get()]
        until = time.monotonic() + self._wait_s
        while len(found) < _MOST_TOGETHER and (left_s := until - time.monotonic()) > 0:
            try:
                found.append(self._requests.get(timeout=left_s))
            except queue.Empty:
                break
        return found


def _answer(number: int, outcome: Any) -> Answer | Refusal:
    if isinstance(outcome, ConfigError):
        return Refusal(number, outcome.field, outcome.problem)
    if isinstance(outcome, Exception):
        logs.get_logger().error("evaluation_broke", exc_info=outcome)
        return Refusal(number, "", type(outcome).__name__)
    return Answer(number, outcome)
