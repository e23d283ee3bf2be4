"""Progress for people: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from clipstyler_client import Draft, Event, Gap, Preparing, Preview, Progress, Queued, Rendering, Started, Warning
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from clipstyler_cli.eta import Eta
from clipstyler_cli.terminal import Terminal, printable, styled

_LINES = 10  # plain lines of progress per run


class Display:
    """Shows the events of one run on stderr; a `with` statement starts and ends it.

    Attributes
    ----------
    first_preview_s
        Seconds from the start of the display to the first preview; None before that.
    """

    def __init__(self, console: Terminal, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._begun = time.monotonic()
        self._eta = Eta()
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[losses]}", style="dim"),
            TimeLeft(self._eta),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("waiting", total=1, losses="")
        self.first_preview_s: float | None = None

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Preview) and self.first_preview_s is None:
            self.first_preview_s = time.monotonic() - self._begun
        elif isinstance(event, Queued) and event.position:
            self._say(f"waiting behind {event.position} other job(s)")
        elif isinstance(event, Started):
            self._bar.update(self._task, description="preparing", completed=0, total=1)
            self._say(f"{event.width} x {event.height} px, {event.steps} steps on {event.device}; preparing")
        elif isinstance(event, Preparing):
            self._bar.update(self._task, completed=event.part, total=event.parts)
            if event.remaining_s is not None:
                self._eta.report(event.remaining_s)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Rendering):
            self._rendering(event)
        elif isinstance(event, Draft | Warning | Gap):
            self._say(_remark(event))

    def _progress(self, event: Progress) -> None:
        terms = event.losses
        losses = (
            f"total {terms.total:.0f}  direction {terms.direction:.2f}  patch {terms.patch:.2f}  "
            f"content {terms.content:.2f}  tv {terms.total_variation:.0f}  rejected {event.rejected:.0%}"
        )
        self._eta.report(event.remaining_s)
        self._bar.update(self._task, description="stylizing", completed=event.step, total=event.steps, losses=losses)
        every = max(1, event.steps // _LINES)
        if not self._console.is_terminal and (event.step % every == 0 or event.step == event.steps):
            self._say(f"step {event.step}/{event.steps}  {losses}  {event.remaining_s:.0f} s left")

    def _rendering(self, event: Rendering) -> None:
        self._bar.update(self._task, description="drawing", completed=event.tile, total=event.tiles, losses="")
        if not self._console.is_terminal and event.tile == 0:
            self._say(f"drawing the result in {event.tiles} tile(s)")

    def _say(self, line: str | Text) -> None:
        if not self._quiet:
            self._console.print(line, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class TimeLeft(ProgressColumn):
    """The time left by the reports of whoever does the work, not by the speed of the bar."""

    def __init__(self, eta: Eta) -> None:
        super().__init__()
        self._eta = eta

    def render(self, _task: Task) -> Text:
        """Write minutes and seconds."""
        left_s = self._eta.left_s
        return Text("-:--" if left_s is None else f"{left_s // 60:.0f}:{left_s % 60:02.0f}", style="cyan")


def _remark(event: Draft | Warning | Gap) -> str | Text:
    """Return the line about an event beside the progress."""
    if isinstance(event, Warning):
        return Text.assemble(styled("warning", "yellow"), f": {printable(event.message)}")
    if isinstance(event, Draft):
        return f"draft in the style {event.style_text!r} ({event.style[:19]}), not yet of this run"
    if event.log_expired:
        return "earlier events are no longer stored"
    return f"skipped {event.skipped_progress} progress events and {event.skipped_previews} previews: slow reader"
