"""A bar of progress on a terminal, plain lines elsewhere: what the displays of all commands have in common."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from clipstyler_cli.eta import Eta
from clipstyler_cli.terminal import Terminal, printable, styled

_LINES = 10  # plain lines per phase


class ProgressBar:
    """Shows progress on stderr, as a bar if the terminal can draw one; a `with` statement starts and ends it.

    Parameters
    ----------
    console
        Where it is shown.
    quiet
        Show warnings only.
    description
        Of what is done first.
    detail
        Name of a field of `update` that is shown beside the bar; empty for none.
    """

    def __init__(self, console: Terminal, quiet: bool, description: str, detail: str = "") -> None:
        self._console = console
        self._quiet = quiet
        self.eta = Eta()
        beside = [TextColumn(f"{{task.fields[{detail}]}}", style="dim")] if detail else []
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            *beside,
            _TimeLeft(self.eta),
            console=console,
            disable=quiet or not console.is_interactive,
        )
        fields: dict[str, Any] = {detail: ""} if detail else {}
        self._task = self._bar.add_task(description, total=1, **fields)

    def update(self, **fields: Any) -> None:
        """Change what is shown; see `rich.progress.Progress.update`."""
        self._bar.update(self._task, **fields)

    def needs_line(self, completed: int, total: int) -> bool:
        """Return whether so many parts are worth a line: without a bar, some per phase, and the last part."""
        return not self._console.is_interactive and (completed % max(1, total // _LINES) == 0 or completed == total)

    def say(self, line: str) -> None:
        """Print a line, unless all is quiet."""
        if not self._quiet:
            self._console.print(line, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Print a warning, also if all else is quiet."""
        self._console.print(Text.assemble(styled("warning", "yellow"), f": {printable(line)}"), soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class _TimeLeft(ProgressColumn):
    """The time left by the reports of whoever does the work, not by the speed of the bar."""

    def __init__(self, eta: Eta) -> None:
        super().__init__()
        self._eta = eta

    def render(self, _task: Task) -> Text:
        """Write minutes and seconds."""
        left_s = self._eta.left_s
        return Text("-:--" if left_s is None else f"{left_s // 60:.0f}:{left_s % 60:02.0f}", style="cyan")
