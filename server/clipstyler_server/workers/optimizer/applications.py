"""Applies styles on a thread of its own: no photo waits for an optimization, which goes on meanwhile."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipstyler.allocator import return_unused_memory
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageFile, Picture
from clipstyler.style import Style, StyleError, load_style
from clipstyler.style_controls import StyleControls
from clipstyler_server.observability import logs
from clipstyler_server.spool import PixelFile
from clipstyler_server.workers.engine import FailureKind, StopCause, TaskFailed, TaskStopped
from clipstyler_server.workers.optimizer.image_files import write_image
from clipstyler_server.workers.optimizer.workload import Workload

_IDLE_S = 1.0  # without a photo, until memory is returned: the next one of a call needs as much again


class StyleFileError(Exception):
    """The file of the style with this digest `is_gone`, or is damaged."""

    def __init__(self, digest: str, is_gone: bool) -> None:
        super().__init__(digest, is_gone)
        self.digest = digest
        self.is_gone = is_gone


@dataclass(frozen=True)
class StyleFile:
    """A style in a file, and the digest that it must have."""

    path: Path
    digest: str

    def load(self) -> Style:
        """Read the style; raises `StyleFileError`."""
        try:
            return load_style(self.path.read_bytes(), self.digest)
        except (FileNotFoundError, StyleError) as error:
            raise StyleFileError(self.digest, is_gone=isinstance(error, FileNotFoundError)) from error


@dataclass(frozen=True)
class Apply:
    """To the optimizer: apply a style to a photo, and write the result to a file. Answer: `Applied`.

    Attributes
    ----------
    number
        Of the request.
    second
        The style that is mixed in.
    photo
        At the size of the result.
    timeout_s
        Seconds that it may wait and take.
    """

    number: int
    style: StyleFile
    second: StyleFile | None
    controls: StyleControls
    photo: PixelFile
    result_format: ImageFormat
    target: Path
    timeout_s: float


@dataclass(frozen=True)
class CancelApply:
    """To the optimizer: drop a request to apply a style, also while it is worked on."""

    number: int


@dataclass(frozen=True)
class Applying:
    """From the optimizer: one more part of a photo is drawn."""


@dataclass(frozen=True)
class Applied:
    """From the optimizer: the result, or why there is none."""

    number: int
    end: ImageFile | TaskStopped | TaskFailed | StyleFileError


class StyleThread:
    """Applies styles, one photo after the other.

    Parameters
    ----------
    workload
        What is run.
    send
        Sends the answers.
    """

    def __init__(self, workload: Workload, send: Callable[[Any], None]) -> None:
        self._workload = workload
        self._send = send
        self._waiting: queue.SimpleQueue[Apply] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._answered = 0
        threading.Thread(target=self._run, name="styles", daemon=True).start()

    def apply(self, order: Apply) -> None:
        """Queue a photo; returns at once."""
        self._waiting.put(order)

    def cancel(self, number: int) -> None:
        """Drop a photo, unless it was answered: numbers increase."""
        if number > self._answered:
            self._cancelled.add(number)

    def _run(self) -> None:
        while True:
            order = self._next()
            end = self._end(order)
            self._answered = order.number
            self._cancelled.discard(order.number)
            self._send(Applied(order.number, end))

    def _next(self) -> Apply:
        """Wait for a photo; memory is returned if none comes soon."""
        try:
            return self._waiting.get(timeout=_IDLE_S)
        except queue.Empty:
            return_unused_memory()
            return self._waiting.get()

    def _end(self, order: Apply) -> ImageFile | TaskStopped | TaskFailed | StyleFileError:
        try:
            return self._applied(order)
        except (TaskStopped, TaskFailed, StyleFileError) as ending:
            return ending.with_traceback(None)
        except OSError as error:
            return TaskFailed(FailureKind.STORAGE_UNAVAILABLE, str(error))
        except MemoryError as error:
            return TaskFailed(FailureKind.OUT_OF_MEMORY, str(error))
        except Exception as error:  # noqa: BLE001 - one photo's failure must not end the process
            logs.get_logger().exception("style_crashed")
            return TaskFailed(FailureKind.INTERNAL, type(error).__name__)

    def _applied(self, order: Apply) -> ImageFile:
        """Apply a style, and write the result."""
        deadline = time.monotonic() + order.timeout_s

        def check() -> None:
            if order.number in self._cancelled:
                raise TaskStopped(StopCause.CANCELLED, 0)
            if time.monotonic() >= deadline:
                raise TaskStopped(StopCause.DEADLINE, 0)

        check()
        drawing = self._workload.apply(order, check)
        while True:
            try:
                next(drawing)
            except StopIteration as end:
                picture: Picture = end.value
                return write_image(picture, order.result_format, order.target, check)
            self._send(Applying())
