"""What others write to the stderr of our processes, as log lines: C libraries, and interpreters that crash.

Our own lines go to the stderr that the server was started with. Descriptor 2, to which everything else writes, is a
pipe that the front process reads: its own, and one of each worker, so that the last words of a crashing worker arrive.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from multiprocessing.reduction import DupFd
from typing import Any, TextIO

import structlog

_STDERR = 2
_LONGEST_LINE = 2000
# A hostile photo makes a library write a line for each of its tags.
_MOST_LINES_A_SECOND = 50
_DRAIN_S = 2.0
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
# Of gRPC and PyTorch at the begin of a line, and of ONNX Runtime in it.
_SEVERITY = re.compile(r"(?:^\[?([IWEF])\d{4} |\[([IWEF]):onnxruntime)")
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.ERROR}

_log_stream: TextIO | None = None


def log_stream() -> TextIO:
    """Return where this process writes its log."""
    return _log_stream or sys.stderr


@contextlib.contextmanager
def captured(source: str) -> Iterator[None]:
    """Log what others write to the stderr of this process while a `with` statement lasts; nothing if it is closed.

    If this process crashes, it cannot read what it wrote last: Python's own report of a crash goes to its log as it is.
    """
    global _log_stream  # noqa: PLW0603 - as descriptor 2, there is one of it in a process
    try:
        real = os.dup(_STDERR)
    except OSError:
        yield
        return
    reading, writing = os.pipe()
    os.dup2(writing, _STDERR)
    os.close(writing)
    mark = uuid.uuid4().hex
    # Stays open: what is logged later goes there too.
    _log_stream = os.fdopen(real, "w", buffering=1, errors="backslashreplace")
    faulthandler.enable(_log_stream)
    relaying = relay(reading, source, until=mark)
    try:
        yield
    finally:
        # Other processes may have the pipe too: its end is not ours to wait for.
        os.write(_STDERR, f"\n{mark}\n".encode())
        os.dup2(real, _STDERR)
        relaying.join(_DRAIN_S)


def relay(descriptor: int, source: str, until: str = "") -> threading.Thread:
    """Log the lines that come out of a pipe, on a thread; returns the thread, which closes the pipe at its end.

    Parameters
    ----------
    descriptor
        Of the pipe's reading end.
    source
        Name of the process that writes to it.
    until
        A line that ends it before the pipe does; empty for none.
    """
    thread = threading.Thread(target=_relay, args=(descriptor, source, until), name=f"stderr-{source}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread is free
        os.close(descriptor)
        raise
    return thread


def _relay(descriptor: int, source: str, until: str) -> None:
    allowance = _Allowance()
    with os.fdopen(descriptor, "rb") as pipe:
        while data := pipe.readline(_LONGEST_LINE):
            line = _COLOR.sub("", data.decode(errors="backslashreplace")).strip()
            if until and line == until:
                break
            if line and allowance.take():
                skipped = {"skipped": allowance.reset()} if allowance.skipped else {}
                structlog.get_logger().log(_level(line), "foreign_output", source=source, line=line, **skipped)


def _level(line: str) -> int:
    """Return the severity of a line: what the library says, or else the highest, as it may be of a crash."""
    found = _SEVERITY.search(line)
    return _LEVELS[found[1] or found[2]] if found else logging.ERROR


class _Allowance:
    """So many lines a second; counts the others."""

    def __init__(self) -> None:
        self.skipped = 0
        self._second = 0
        self._taken = 0

    def take(self) -> bool:
        """Return whether one more line is allowed now."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        allowed = self._taken <= _MOST_LINES_A_SECOND
        self.skipped += not allowed
        return allowed

    def reset(self) -> int:
        """Return the number of lines that were not allowed, and begin anew."""
        skipped, self.skipped = self.skipped, 0
        return skipped


class WorkerStderr:
    """The stderr of a process that is about to be spawned: it travels to that process, which installs it.

    Attributes
    ----------
    reading
        The end of the pipe that this process reads.
    """

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            log = DupFd(log_stream().fileno())
        except (AttributeError, OSError, ValueError):
            log = None  # this process has none itself
        return _InstalledStderr, (log, DupFd(self._writing))

    def close(self) -> None:
        """Close the writing end in this process: it belongs to the other one."""
        os.close(self._writing)


class _InstalledStderr:
    """The same in the spawned process: where its log goes, and what everything else writes to."""

    def __init__(self, log: Any, writing: Any) -> None:
        global _log_stream  # noqa: PLW0603
        # Copied before descriptor 2, which may be the log, becomes the pipe.
        descriptor = os.dup(log.detach()) if log else os.open(os.devnull, os.O_WRONLY)
        _log_stream = os.fdopen(descriptor, "w", buffering=1, errors="backslashreplace")
        pipe = writing.detach()
        os.dup2(pipe, _STDERR)
        os.close(pipe)
