"""The optimizer's process: it owns the device, runs one order at a time and looks at its cancel flag every step.

The main thread optimizes, a reading thread takes commands, a sending thread reports, and one more encodes previews.
When the front is gone, however it went, the pipe ends and so does this process.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from clipstyler.config import ConfigError
from clipstyler.imaging import ImageError
from clipstyler.openmp import spin_briefly
from clipstyler_server import logs
from clipstyler_server.engine.base import (
    Broke,
    Cancel,
    Cautioned,
    Command,
    FailureKind,
    Finished,
    JobEvent,
    Order,
    Progressed,
    Shutdown,
    Started,
    StopCause,
    Stopped,
    WorkerReady,
    WorkerUnfit,
)
from clipstyler_server.engine.channel import Channel
from clipstyler_server.engine.previews import PreviewEncoder, encode_image
from clipstyler_server.engine.workload import (
    Notice,
    OptimizerOptions,
    Outcome,
    Prepared,
    Step,
    UnfitError,
    Workload,
    WorkloadFactory,
)


def main(connection: Connection[Any, Any], options: OptimizerOptions, make_workload: WorkloadFactory) -> None:
    """Run the process: load the workload, then run orders until the front is gone."""
    _prepare_process(options)
    inbox = Inbox()
    channel = Channel(connection, inbox.receive, _exit_now)
    channel.start()
    try:
        workload = make_workload(options)
    except UnfitError as error:
        channel.send(WorkerUnfit(str(error)))
        channel.flush(timeout_s=5)
        return
    previews = PreviewEncoder(channel.send)
    channel.send(WorkerReady(workload.info))
    while True:
        run = inbox.next_run()
        channel.send(run.execute(workload, previews, channel))


def _prepare_process(options: OptimizerOptions) -> None:
    # A signal to the whole process group is for the front, which ends this process in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    os.nice(options.nice)
    spin_briefly()
    logs.configure(options.log_level, options.log_format, "optimizer")


def _exit_now() -> None:
    """End at once, in the middle of a step if need be: nothing here outlives the front."""
    os._exit(0)


class Inbox:
    """Takes commands on the reading thread: orders wait here, cancels find their run."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self._runs: dict[str, Run] = {}

    def receive(self, command: Command) -> None:
        """Take a command; called on the reading thread, the only one that touches the table of runs."""
        match command:
            case Order():
                # A late cancel finds nothing, because runs that are over are forgotten here.
                self._runs = {job_id: run for job_id, run in self._runs.items() if not run.over}
                run = self._runs[command.job_id] = Run(command)
                self._orders.put(run)
            case Cancel(job_id):
                if found := self._runs.get(job_id):
                    found.cancel()
            case Shutdown():
                _exit_now()

    def next_run(self) -> Run:
        """Wait for the next order."""
        return self._orders.get()


class Run:
    """One order being carried out.

    Attributes
    ----------
    over
        Whether it has ended, in whatever way.
    """

    def __init__(self, order: Order) -> None:
        self.over = False
        self._order = order
        self._deadline = time.monotonic() + order.timeout_s
        self._step = 0
        self._cancelled = threading.Event()
        self._step_at_cancel = 0

    def cancel(self) -> None:
        """Ask the run to stop; called on the reading thread."""
        if not self._cancelled.is_set():
            self._step_at_cancel = self._step
            self._cancelled.set()

    def execute(self, workload: Workload, previews: PreviewEncoder, channel: Channel) -> JobEvent:
        """Carry the order out; returns how it ended. Everything else was sent before."""
        try:
            end = self._optimize(workload, previews, channel)
        except (ConfigError, ImageError, FloatingPointError, MemoryError) as error:
            end = _broke(self._order.job_id, error)
        except Exception as error:  # noqa: BLE001 - one job's failure must not end the process
            logs.get_logger().exception("job_broke", job_id=self._order.job_id)
            end = Broke(self._order.job_id, FailureKind.INTERNAL, type(error).__name__)
        finally:
            self.over = True
        if isinstance(end, Finished):
            previews.finish()
        else:
            previews.discard()
        return end

    def _optimize(self, workload: Workload, previews: PreviewEncoder, channel: Channel) -> JobEvent:
        order = self._order
        picture = order.picture
        channel.send(Started(order.job_id, order.config.steps, picture.width, picture.height, workload.info.device))
        items = workload.stylize(order)
        before_s = 0.0
        while not (cause := self._stop_cause()):
            item = next(items)
            if isinstance(item, Outcome):
                return self._finish(item)
            if isinstance(item, Prepared):
                continue
            if isinstance(item, Notice):
                channel.send(Cautioned(order.job_id, item.code, item.message))
                continue
            self._step = item.step
            if order.previews.wants(item.step):
                previews.offer(order.job_id, item.step, item.picture(), order.previews)
            channel.send(_progressed(order.job_id, item, item.elapsed_s - before_s))
            before_s = item.elapsed_s
        # Dropping the iterator stops the work.
        late = self._step - self._step_at_cancel if cause is StopCause.CANCELLED else 0
        return Stopped(order.job_id, cause, self._step, late)

    def _stop_cause(self) -> StopCause | None:
        if self._cancelled.is_set():
            return StopCause.CANCELLED
        if time.monotonic() >= self._deadline:
            return StopCause.DEADLINE
        return None

    def _finish(self, outcome: Outcome) -> Finished:
        begun = time.monotonic()
        image = encode_image(outcome.picture, self._order.result_format)
        return Finished(
            job_id=self._order.job_id,
            image=image,
            models=outcome.models,
            device=outcome.device,
            threads=outcome.threads,
            versions=outcome.versions,
            losses=outcome.losses,
            prepare_s=outcome.prepare_s,
            optimize_s=outcome.optimize_s,
            encode_s=time.monotonic() - begun,
        )


def _progressed(job_id: str, step: Step, step_s: float) -> Progressed:
    return Progressed(
        job_id=job_id,
        step=step.step,
        steps=step.steps,
        losses=step.losses,
        rejected=step.rejected,
        elapsed_s=step.elapsed_s,
        remaining_s=step.remaining_s,
        step_s=step_s,
    )


def _broke(job_id: str, error: Exception) -> Broke:
    if isinstance(error, ConfigError):
        return Broke(job_id, FailureKind.INVALID, error.problem, error.field)
    if isinstance(error, ImageError):
        return Broke(job_id, FailureKind.INVALID, str(error), "image")
    if isinstance(error, FloatingPointError):
        return Broke(job_id, FailureKind.DIVERGED, str(error))
    return Broke(job_id, FailureKind.OUT_OF_MEMORY, str(error))
