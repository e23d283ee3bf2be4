"""What an optimizer is told, on the thread that reads: new tasks, and what concerns those that it has."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass

from clipstyler_server.spool import Spool
from clipstyler_server.workers.engine import Task
from clipstyler_server.workers.messages import Cancel, PhotoReady
from clipstyler_server.workers.optimizer.applications import Apply, CancelApply, StyleThread
from clipstyler_server.workers.optimizer.runs import Run


@dataclass(frozen=True)
class Abandon:
    """To the optimizer, from its own machine: stop this job, whose front is not heard of any more."""

    job_id: str


class Inbox:
    """Receives commands on the reading thread: tasks wait here, cancellations and photos find their run.

    Attributes
    ----------
    styles
        Applies styles; set before the front process knows that it may send any.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self._runs: dict[str, Run] = {}
        self._news = threading.Event()
        self.styles: StyleThread | None = None

    def receive(self, command: Task | Cancel | Abandon | PhotoReady | Apply | CancelApply) -> None:
        """Take a command; called by one thread at a time, the only one that touches the table of runs."""
        match command:
            case Task():
                # A late cancellation finds nothing, because finished runs are forgotten here.
                self._runs = {job_id: run for job_id, run in self._runs.items() if run.end is None}
                run = self._runs[command.job_id] = Run(command, self._spool)
                self._waiting.put(run)
            case Cancel(job_id):
                if found := self._runs.get(job_id):
                    found.cancel()
            case Abandon(job_id):
                if found := self._runs.get(job_id):
                    found.abandon()
            case PhotoReady(job_id):
                if found := self._runs.get(job_id):
                    found.provide(command)
            case Apply() if self.styles:
                self.styles.apply(command)
            case CancelApply(number) if self.styles:
                self.styles.cancel(number)
        self.notify()

    def notify(self) -> None:
        """Have `wait` return: a command has arrived, or something else that a run waits for."""
        self._news.set()

    def wait(self, timeout_s: float) -> None:
        """Wait for something to arrive."""
        self._news.wait(timeout_s)
        self._news.clear()

    def new_runs(self, *, wait: bool) -> list[Run]:
        """Return the runs of the tasks that have arrived; waits for one if it is to."""
        found = [self._waiting.get()] if wait else []
        while not self._waiting.empty():
            found.append(self._waiting.get())
        return found
