"""The work of an optimizer, wherever it is: in rounds, in which every run takes one turn, and steps may be shared.

One thread optimizes; commands are received on another, previews and results are encoded on two more, and styles applied
on a fifth. Runs join and leave between turns: how many there are at once is up to the front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from clipstyler.allocator import return_unused_memory
from clipstyler.embedding import Embedding
from clipstyler.events import Result
from clipstyler_server.observability import logs
from clipstyler_server.workers.engine import StartupError
from clipstyler_server.workers.messages import DeviceMemory, TaskEvent, WorkerReady
from clipstyler_server.workers.optimizer.applications import StyleThread
from clipstyler_server.workers.optimizer.inbox import Inbox
from clipstyler_server.workers.optimizer.previews import PreviewEncoder
from clipstyler_server.workers.optimizer.runs import End, Run, RunContext, Send
from clipstyler_server.workers.optimizer.workload import Workload
from clipstyler_server.workers.startup import cannot_start

_LOOK_S = 0.05  # between two looks at cancel flags and deadlines while all runs wait


def work(inbox: Inbox, load: Callable[[], Workload], send: Send, progress_interval_s: float = 0.0) -> None:
    """Load the workload, then run tasks without end; returns if it cannot be loaded."""
    try:
        workload = load()
    except (StartupError, OSError) as error:
        send(cannot_start(error))
        return
    writer = ThreadPoolExecutor(1, thread_name_prefix="results")
    context = RunContext(workload, PreviewEncoder(send), writer, send, inbox.notify, progress_interval_s)
    inbox.styles = StyleThread(workload, send)
    send(WorkerReady(workload.info))
    send(DeviceMemory(workload.device_memory()))
    rounds = Rounds(context)
    while True:
        rounds.join(inbox.new_runs(wait=not rounds.runs))
        rounds.take()
        if rounds.is_waiting:
            inbox.wait(_LOOK_S)


class Rounds:
    """The runs that an optimizer has at once. Each takes one step per round, so that a long one holds up no other.

    Parameters
    ----------
    context
        Of the runs.

    Attributes
    ----------
    runs
        Those that have not ended.
    """

    def __init__(self, context: RunContext) -> None:
        self.runs: list[Run] = []
        self._context = context
        self._shares = True

    def join(self, runs: Sequence[Run]) -> None:
        """Let runs take part from the next round on."""
        self.runs += runs
        self._shares |= bool(runs)

    @property
    def is_waiting(self) -> bool:
        """Whether there are runs, and none has anything to do now."""
        return bool(self.runs) and all(run.is_waiting for run in self.runs)

    def take(self) -> None:
        """Let every run take its turn, then compute together what waits in the middle of their steps."""
        waiting = [found for run in self.runs if (found := self._turn(run))]
        if len(waiting) > 1 and self._shares:
            self._share(waiting)
        if any(run.end for run in self.runs):
            self.runs = [run for run in self.runs if not run.end]
            self._shares = True

    def _turn(self, run: Run) -> Embedding | None:
        with logs.in_context(run.task.log_context):
            waiting = run.take_turn(self._context)
            if run.end:
                self._conclude(run.task.job_id, run.end)
            return waiting

    def _share(self, waiting: Sequence[Embedding]) -> None:
        """Compute together what can be; if that fails, each run computes alone until others join or leave."""
        try:
            self._context.workload.share(waiting)
        except Exception as error:  # noqa: BLE001 - each run goes on, or fails, alone
            logs.get_logger().warning("steps_not_shared", runs=len(waiting), problem=str(error) or type(error).__name__)
            self._shares = False

    def _conclude(self, job_id: str, end: End) -> None:
        """Send the end of a run, after all its previews."""
        previews, send = self._context.previews, self._context.send
        if isinstance(end, Result):
            previews.finish(job_id)
        else:
            previews.discard(job_id)
        send(TaskEvent(job_id, end))
        send(DeviceMemory(self._context.workload.device_memory()))
        return_unused_memory()
