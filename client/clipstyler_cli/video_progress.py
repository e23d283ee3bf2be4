"""Progress of a video for people: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from clipstyler_cli.eta import Eta
from clipstyler_cli.progress import TimeLeft
from clipstyler_cli.terminal import Terminal

_LINES = 10  # plain lines of progress per phase


class VideoProgress:
    """Shows the phases of one run on stderr; a `with` statement starts and ends it.

    Parameters
    ----------
    quiet
        Show warnings only.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Terminal(stderr=True)
        self._quiet = quiet
        self._eta = Eta()
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeLeft(self._eta),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=1)
        self._phase = ""
        self._begun = 0.0
        self._first = 0

    def show(self, phase: str, completed: int, total: int) -> None:
        """Show that so many parts of a phase were completed, of so many; the time left is that of the phase."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._begun, self._first = phase, now, completed
            self._eta.reset()
        new = completed - self._first
        left_s = (now - self._begun) / new * (total - completed) if new else None
        if left_s is not None:
            self._eta.report(left_s)
        self._bar.update(self._task, description=phase, completed=completed, total=max(total, completed))
        every = max(1, total // _LINES)
        if not self._console.is_terminal and new and (completed % every == 0 or completed == total):
            self.say(f"{phase} {completed}/{total}" + ("" if left_s is None else f"  {left_s:.0f} s left"))

    def say(self, line: str) -> None:
        """Print a line, unless all is quiet."""
        if not self._quiet:
            self._console.print(line, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Print a warning, also if all else is quiet."""
        self._console.print(f"warning: {line}", soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
