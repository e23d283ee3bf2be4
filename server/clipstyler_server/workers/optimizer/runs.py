"""Runs of tasks in an optimizer, wherever it is: commands come in, events go out, and every step can be stopped.

One thread optimizes; commands are received on another, previews are encoded on a third, and styles applied on a fourth.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from clipstyler.allocator import return_unused_memory
from clipstyler.events import Preview, Progress, Result
from clipstyler.imaging import ImageError, ImageFile, Picture
from clipstyler.masking import Levels
from clipstyler.options import ConfigError, Violation
from clipstyler.original import Original
from clipstyler_server.observability import logs
from clipstyler_server.spool import Spool
from clipstyler_server.workers.engine import (
    EngineLost,
    FailureKind,
    StartupError,
    StopCause,
    Task,
    TaskFailed,
    TaskStopped,
)
from clipstyler_server.workers.messages import Cancel, DeviceMemory, PhotoReady, TaskEvent, WorkerReady
from clipstyler_server.workers.optimizer.applications import Apply, CancelApply, StyleThread
from clipstyler_server.workers.optimizer.image_files import write_image
from clipstyler_server.workers.optimizer.previews import PreviewEncoder
from clipstyler_server.workers.optimizer.workload import Workload
from clipstyler_server.workers.startup import cannot_start

Send = Callable[[Any], None]
"""Sends a message to the front; returns at once."""
_End = Result[ImageFile] | TaskStopped | TaskFailed | EngineLost
_LOOK_S = 0.05  # between two looks at the cancel flag and the deadline while a photo is awaited


@dataclass(frozen=True)
class Abandon:
    """To the optimizer, from its own machine: stop this job, whose front is not heard of any more."""

    job_id: str


def work(inbox: Inbox, load: Callable[[], Workload], send: Send) -> None:
    """Load the workload, then run tasks without end; returns if it cannot be loaded."""
    try:
        workload = load()
    except (StartupError, OSError) as error:
        send(cannot_start(error))
        return
    previews = PreviewEncoder(send)
    inbox.styles = StyleThread(workload, send)
    send(WorkerReady(workload.info))
    send(DeviceMemory(workload.device_memory()))
    while True:
        run = inbox.next_run()
        with logs.in_context(run.task.log_context):
            send(TaskEvent(run.task.job_id, run.execute(workload, previews, send)))
        send(DeviceMemory(workload.device_memory()))
        return_unused_memory()


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

    def receive(self, command: Task | Cancel | Abandon | PhotoReady | Apply | CancelApply) -> None:
        """Take a command; called by one thread at a time, the only one that touches the table of runs."""
        match command:
            case Task():
                # A late cancellation finds nothing, because finished runs are forgotten here.
                self._runs = {job_id: run for job_id, run in self._runs.items() if not run.finished}
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
                    found.photos.put(command)
            case Apply() if self.styles:
                self.styles.apply(command)
            case CancelApply(number) if self.styles:
                self.styles.cancel(number)

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
        Receives the photo and the mask at the size of the result, and before them further photos of a fit.
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
        self._abandoned = False
        self._step_at_cancel = 0
        self._provided: dict[int, PhotoReady] = {}

    def cancel(self) -> None:
        """Ask the run to stop; called on the reading thread."""
        if not self._cancelled.is_set():
            self._step_at_cancel = self._step
            self._cancelled.set()

    def abandon(self) -> None:
        """Have the run end as lost; called on the reading thread."""
        self._abandoned = True

    def execute(self, workload: Workload, previews: PreviewEncoder, send: Send) -> _End:
        """Execute the task; returns how it ended. All other events were sent before."""
        end: _End
        try:
            end = self._optimize(workload, previews, send)
        except (TaskStopped, TaskFailed, EngineLost) as ending:
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

    def _optimize(self, workload: Workload, previews: PreviewEncoder, send: Send) -> _End:
        job_id, spec = self.task.job_id, self.task.spec
        others = [self._photo(number) for number in range(1, self.task.other_photos + 1)]
        original = Original(*self.task.result_size, self._photo, self._mask)
        events = workload.stylize(self.task, original, others, self._check)
        while True:
            self._check()
            match next(events):
                case Result() as result:
                    return self._written(result)
                case Preview(step, image):
                    previews.offer(job_id, step, image, spec.previews)
                    send(DeviceMemory(workload.device_memory()))
                case event:
                    if isinstance(event, Progress):
                        self._step = event.step
                    send(TaskEvent(job_id, event))

    def _check(self) -> None:
        """Raise `TaskStopped` if the run was cancelled or has passed its deadline, `EngineLost` if it was abandoned."""
        if self._cancelled.is_set():
            raise TaskStopped(StopCause.CANCELLED, self._step, self._step - self._step_at_cancel)
        if self._abandoned:
            raise EngineLost("lost its server for longer than a lease", again=True)
        if time.monotonic() >= self._deadline:
            raise TaskStopped(StopCause.DEADLINE, self._step)

    def _photo(self, number: int = 0) -> Picture:
        """Wait for the photo at the size of the result, or for a further one.

        Raises
        ------
        ImageError
            There is none.
        """
        photo = self._wait(number).photo
        if isinstance(photo, str):
            raise ImageError(photo)
        return photo.load()

    def _mask(self) -> Levels | None:
        """Wait for the mask at the size of the result; raises as `_photo`."""
        self._photo()
        mask = self._wait(0).mask
        return mask.load() if mask else None

    def _wait(self, number: int) -> PhotoReady:
        while number not in self._provided:
            self._check()
            with suppress(queue.Empty):
                found = self.photos.get(timeout=_LOOK_S)
                self._provided[found.number] = found
        return self._provided[number]

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
