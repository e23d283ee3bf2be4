"""A run of a task: it goes on turn by turn, so that one thread can have several, and stops within a turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any, cast

from clipstyler.embedding import Embedding, Launched, Wait
from clipstyler.events import Optimized, Preparing, Preview, Progress, Rendering, Result
from clipstyler.imaging import ImageError, ImageFile, Picture
from clipstyler.masking import Levels
from clipstyler.options import ConfigError, Violation
from clipstyler.original import Original
from clipstyler_server.observability import logs
from clipstyler_server.spool import PixelFile, Spool
from clipstyler_server.workers.engine import EngineLost, FailureKind, StopCause, Task, TaskFailed, TaskStopped
from clipstyler_server.workers.messages import DeviceMemory, PhotoReady, TaskEvent
from clipstyler_server.workers.optimizer.image_files import write_image
from clipstyler_server.workers.optimizer.previews import PreviewEncoder
from clipstyler_server.workers.optimizer.progress_pace import ProgressPace
from clipstyler_server.workers.optimizer.workload import LibraryEvent, Workload

Send = Callable[[Any], None]
"""Sends a message to the front; returns at once."""
End = Result[ImageFile] | TaskStopped | TaskFailed | EngineLost

_TURN_ENDS = (Preparing, Optimized, Rendering)


@dataclass(frozen=True)
class RunContext:
    """What the runs of an optimizer have in common.

    Attributes
    ----------
    workload
        Computes.
    previews, writer
        Encode previews and results, on threads of their own.
    send
        Sends events.
    notify
        Called when something is done that a run waited for.
    progress_interval_s
        Least time between two progress events of a run in seconds; 0 reports every step.
    """

    workload: Workload
    previews: PreviewEncoder
    writer: Executor
    send: Send
    notify: Callable[[], None]
    progress_interval_s: float = 0.0


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
    end
        How it has ended; None before.
    """

    def __init__(self, task: Task, spool: Spool) -> None:
        self.task = task
        self.end: End | None = None
        self._spool = spool
        self._deadline = time.monotonic() + task.timeout_s
        self._step = 0
        self._cancelled = threading.Event()
        self._abandoned = False
        self._step_at_cancel = 0
        # Photos by their numbers, and those without which there is nothing to do.
        self._provided: dict[int, PhotoReady] = {}
        self._needed = set(range(1, task.other_photos + 1))
        self._events: Iterator[LibraryEvent | Wait] | None = None
        self._writing: Future[Result[ImageFile]] | None = None

    def cancel(self) -> None:
        """Ask the run to stop; called on the reading thread."""
        if not self._cancelled.is_set():
            self._step_at_cancel = self._step
            self._cancelled.set()

    def abandon(self) -> None:
        """Have the run end as lost; called on the reading thread."""
        self._abandoned = True

    def provide(self, photo: PhotoReady) -> None:
        """Hand over a photo, or say why there is none; called on the reading thread."""
        self._provided = {**self._provided, photo.number: photo}

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing to do now: a photo has not come yet, or the result is being written."""
        return not self._has_photos() if self._writing is None else not self._writing.done()

    def take_turn(self, context: RunContext) -> Embedding | None:
        """Go on by a step, a part of the preparation or a tile, and send what happens on the way.

        Returns what waits in the middle of a step, which then may be computed with that of other runs; a step that was
        launched ends the turn too. Whatever fails is the end of this run only.
        """
        try:
            return self._advance(context)
        except (TaskStopped, TaskFailed, EngineLost) as ending:
            # Without its traceback, which holds what the work has in memory.
            self.end = ending.with_traceback(None)
        except (ConfigError, ImageError, FloatingPointError, MemoryError) as error:
            self.end = _failed(error)
        except Exception as error:  # noqa: BLE001 - one job's failure must not end the process
            logs.get_logger().exception("job_crashed", job_id=self.task.job_id)
            self.end = TaskFailed(FailureKind.INTERNAL, type(error).__name__)
        self._events = self._writing = None
        return None

    def _advance(self, context: RunContext) -> Embedding | None:
        if self._writing:
            if self._writing.done():
                self.end = self._writing.result()
            return None
        self._check()
        if not self._has_photos():
            return None
        if self._events is None:
            self._events = self._begun(context.workload)
            self._pace = ProgressPace(self.task.spec.previews, context.progress_interval_s)
        return self._go_on(self._events, context)

    def _go_on(self, events: Iterator[LibraryEvent | Wait], context: RunContext) -> Embedding | None:
        """Compute to the end of the turn."""
        job_id, send = self.task.job_id, context.send
        while True:
            self._check()
            match next(events):
                case Embedding() as waiting:
                    return waiting
                case Launched():
                    return None
                case Result() as result:
                    self._events = None
                    self._writing = context.writer.submit(copy_context().run, self._written, result)
                    self._writing.add_done_callback(lambda _: context.notify())
                    return None
                case Preview(step, image):
                    context.previews.offer(job_id, step, image, self.task.spec.previews)
                    send(DeviceMemory(context.workload.device_memory()))
                case event:
                    self._note(event)
                    for paced in self._pace.paced(event):
                        send(TaskEvent(job_id, paced))
                    if isinstance(event, _TURN_ENDS):
                        return None

    def _begun(self, workload: Workload) -> Iterator[LibraryEvent | Wait]:
        others = [self._photo(number) for number in range(1, self.task.other_photos + 1)]
        original = Original(*self.task.result_size, self._photo, self._mask)
        return workload.stylize(self.task, original, others, self._check)

    def _note(self, event: LibraryEvent) -> None:
        if isinstance(event, Progress):
            self._step = event.step
        elif isinstance(event, Optimized) and self.task.needs_original:
            self._needed.add(0)

    def _check(self) -> None:
        """Raise `TaskStopped` if the run was cancelled or has passed its deadline, `EngineLost` if it was abandoned."""
        if self._cancelled.is_set():
            raise TaskStopped(StopCause.CANCELLED, self._step, self._step - self._step_at_cancel)
        if self._abandoned:
            raise EngineLost("lost its server for longer than a lease", again=True)
        if time.monotonic() >= self._deadline:
            raise TaskStopped(StopCause.DEADLINE, self._step)

    def _has_photos(self) -> bool:
        """Whether all photos have come that are needed now, or the news that there is none: then no other comes."""
        provided = self._provided
        return self._needed <= provided.keys() or any(isinstance(one.photo, str) for one in provided.values())

    def _photo(self, number: int = 0) -> Picture:
        """Read the photo at the size of the result, or a further one."""
        return self._pixels(number).load()

    def _mask(self) -> Levels | None:
        """Read the mask at the size of the result."""
        self._pixels(0)
        mask = self._provided[0].mask
        return mask.load() if mask else None

    def _pixels(self, number: int) -> PixelFile:
        """Return a photo that has come.

        Raises
        ------
        ImageError
            There is none.
        """
        photo = self._provided[number].photo
        if isinstance(photo, str):
            raise ImageError(photo)
        return photo

    def _written(self, result: Result[Picture]) -> Result[ImageFile]:
        """Encode a result into a file; called on a thread of its own."""
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
