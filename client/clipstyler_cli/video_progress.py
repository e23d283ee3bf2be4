"""Progress of a video for people: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from clipstyler_cli.progress_bar import ProgressBar
from clipstyler_cli.terminal import Terminal


class VideoProgress(ProgressBar):
    """Shows the phases of one run on stderr.

    Parameters
    ----------
    quiet
        Show warnings only.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(Terminal(stderr=True), quiet, "reading")
        self._phase = ""
        self._begun = 0.0
        self._first = 0

    def show(self, phase: str, completed: int, total: int) -> None:
        """Show that so many parts of a phase were completed, of so many; the time left is that of the phase."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._begun, self._first = phase, now, completed
            self.eta.reset()
        new = completed - self._first
        left_s = (now - self._begun) / new * (total - completed) if new else None
        if left_s is not None:
            self.eta.report(left_s)
        self.update(description=phase, completed=completed, total=max(total, completed))
        if new and self.needs_line(completed, total):
            self.say(f"{phase} {completed}/{total}" + ("" if left_s is None else f"  {left_s:.0f} s left"))
