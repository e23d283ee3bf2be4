"""The optimizer process: it owns the device, runs one task at a time and checks for cancellation within every step.

The main thread optimizes, a reading thread receives commands, a sending thread reports, one more encodes previews, and
one applies styles.
When the front process exits, however it does, the pipe closes and this process exits too.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, cast

from clipstyler.allocator import return_unused_memory
from clipstyler.events import Preview, Progress, Result
from clipstyler.imaging import ImageError, ImageFile, Picture
from clipstyler.masking import Levels
from clipstyler.openmp import spin_briefly
from clipstyler.options import ConfigError, Violation
from clipstyler.original import Original
from clipstyler_server.observability import logs
from clipstyler_server.spool import Spool
from clipstyler_server.workers.channel import Channel
from clipstyler_server.workers.ending_signals import leave_to_the_front
from clipstyler_server.workers.engine import FailureKind, StartupError, StopCause, Task, TaskFailed, TaskStopped
from clipstyler_server.workers.messages import Cancel, DeviceMemory, PhotoReady, Shutdown, TaskEvent, WorkerReady
from clipstyler_server.workers.optimizer.applications import Apply, CancelApply, StyleThread
from clipstyler_server.workers.optimizer.image_files import write_image
from clipstyler_server.workers.optimizer.previews import PreviewEncoder
from clipstyler_server.workers.optimizer.workload import OptimizerOptions, Workload, WorkloadFactory
from clipstyler_server.workers.startup import cannot_start

_End = Result[ImageFile] | TaskStopped | TaskFailed
_LOOK_S = 0.05  # between two looks at the cancel flag and the deadline while a photo is awaited


def main(connection: Connection[Any, Any], options: OptimizerOptions, make_workload: WorkloadFactory) -> None:
    """Run the process: load the workload, then run tasks until the front process exits."""
    _prepare_process(options)
    inbox = Inbox(options.spool)
    channel = Channel(connection, inbox.receive, _exit_now)
    channel.start()
    try:
        workload = make_workload(options)
    except (StartupError, OSError) as error:
        channel.send(cannot_start(error))
        channel.flush(timeout_s=5)
        return
    previews = PreviewEncoder(channel.send)
    inbox.styles = StyleThread(workload, channel)
    channel.send(WorkerReady(workload.info))
    channel.send(DeviceMemory(workload.device_memory()))
    while True:
        run = inbox.next_run()
        with logs.in_context(run.task.log_context):
            channel.send(TaskEvent(run.task.job_id, run.execute(workload, previews, channel)))
        channel.send(DeviceMemory(workload.device_memory()))
        return_unused_memory()


def _prepare_process(options: OptimizerOptions) -> None:
    leave_to_the_front()
    faulthandler.enable()
    os.nice(options.nice)
    spin_briefly()
    logs.configure(options.log_level, options.log_format, "optimizer")


def _exit_now() -> None:
    """Exit at once, in the middle of a step if need be: nothing here outlives the front process."""
    os._exit(0)


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
        self.styles: StyleThread | None = None

    def receive(self, command: Task | Cancel | PhotoReady | Apply | CancelApply | Shutdown) -> None:
        """Take a command; called on the reading thread, the only one that touches the table of runs."""
        match command:
            case Task():
                # A late cancellation finds nothing, because finished runs are forgotten here.
                self._runs = {job_id: run for job_id, run in self._runs.items() if not run.finished}
                run = self._runs[command.job_id] = Run(command, self._spool)
                self._waiting.put(run)
            case Cancel(job_id):
                if found := self._runs.get(job_id):
                    found.cancel()
            case PhotoReady(job_id):
                if found := self._runs.get(job_id):
                    found.photos.put(command)
            case Apply() if self.styles:
                self.styles.apply(command)
            case CancelApply(number) if self.styles:
                self.styles.cancel(number)
            case Shutdown():
                _exit_now()

    def next_run(self) -> Run:
        """Wait for the next task."""
        return self._waiting.get()


class Run:
    """One execution of a task.

    Parameters
    ----------
    task
        What is executed.
    spool
        Where its result is written.

    Attributes
    ----------
    photos
        Receives photo and mask at the size of the result.
    finished
        Whether it has ended, in whatever way.
    """

    def __init__(self, task: Task, spool: Spool) -> None:
        self.task = task
        self.photos: queue.SimpleQueue[PhotoReady] = queue.SimpleQueue()
        self.finished = False
        self._spool = spool
        self._deadline = time.monotonic() + task.timeout_s
        self._step = 0
        self._cancelled = threading.Event()
        self._step_at_cancel = 0
        self._provided: PhotoReady | None = None

    def cancel(self) -> None:
        """Ask the run to stop; called on the reading thread."""
        if not self._cancelled.is_set():
            self._step_at_cancel = self._step
            self._cancelled.set()

    def execute(self, workload: Workload, previews: PreviewEncoder, channel: Channel) -> _End:
        """Execute the task; returns how it ended. All other events were sent before."""
        end: _End
        try:
            end = self._optimize(workload, previews, channel)
        except (TaskStopped, TaskFailed) as ending:
            # Without its traceback, which holds what the work has in memory.
            end = ending.with_traceback(None)
        except (ConfigError, ImageError, FloatingPointError, MemoryError) as error:
            end = _failed(error)
        except Exception as error:  # noqa: BLE001 - one job's failure must not end the process
            logs.get_logger().exception("job_crashed", job_id=self.task.job_id)
            end = TaskFailed(FailureKind.INTERNAL, type(error).__name__)
        finally:
            self.finished = True
        if isinstance(end, Result):
            previews.finish()
        else:
            previews.discard()
        return end

    def _optimize(self, workload: Workload, previews: PreviewEncoder, channel: Channel) -> _End:
        job_id, spec = self.task.job_id, self.task.spec
        original = Original(*self.task.result_size, self._photo, self._mask)
        events = workload.stylize(self.task, original, self._check)
        while True:
            self._check()
            match next(events):
                case Result() as result:
                    return self._written(result)
                case Preview(step, image):
                    previews.offer(job_id, step, image, spec.previews)
                    channel.send(DeviceMemory(workload.device_memory()))
                case event:
                    if isinstance(event, Progress):
                        self._step = event.step
                    channel.send(TaskEvent(job_id, event))

    def _check(self) -> None:
        """Raise `TaskStopped` if the run was cancelled or has passed its deadline."""
        if self._cancelled.is_set():
            raise TaskStopped(StopCause.CANCELLED, self._step, self._step - self._step_at_cancel)
        if time.monotonic() >= self._deadline:
            raise TaskStopped(StopCause.DEADLINE, self._step)

    def _photo(self) -> Picture:
        """Wait for the photo at the size of the result.

        Raises
        ------
        ImageError
            There is none.
        """
        photo = self._wait().photo
        if isinstance(photo, str):
            raise ImageError(photo)
        return photo.load()

    def _mask(self) -> Levels | None:
        """Wait for the mask at the size of the result; raises as `_photo`."""
        self._photo()
        mask = self._wait().mask
        return mask.load() if mask else None

    def _wait(self) -> PhotoReady:
        while self._provided is None:
            self._check()
            with suppress(queue.Empty):
                self._provided = self.photos.get(timeout=_LOOK_S)
        return self._provided

    def _written(self, result: Result[Picture]) -> Result[ImageFile]:
        """Encode a result into a file."""
        begun = time.monotonic()
        path = self._spool.result(self.task.job_id)
        image: Any = write_image(result.image, result.spec.result_format, path, self._check)
        timings = replace(result.timings, encode_s=time.monotonic() - begun)
        return cast("Result[ImageFile]", replace(result, image=image, timings=timings))


def _failed(error: Exception) -> TaskFailed:
    if isinstance(error, ConfigError):
        return TaskFailed(FailureKind.INVALID, str(error), error.violations)
    if isinstance(error, ImageError):
        return TaskFailed(FailureKind.INVALID, str(error), (Violation("image", str(error)),))
    if isinstance(error, FloatingPointError):
        return TaskFailed(FailureKind.DIVERGED, str(error))
    return TaskFailed(FailureKind.OUT_OF_MEMORY, str(error))
