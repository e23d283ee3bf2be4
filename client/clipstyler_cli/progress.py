"""Progress of a stylization for people: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from clipstyler_client import Draft, Event, Gap, Preparing, Preview, Progress, Queued, Rendering, Started, Warning

from clipstyler_cli.progress_bar import ProgressBar
from clipstyler_cli.terminal import Terminal


class Display(ProgressBar):
    """Shows the events of one run.

    Attributes
    ----------
    first_preview_s
        Seconds from the start of the display to the first preview; None before that.
    """

    def __init__(self, console: Terminal, quiet: bool = False) -> None:
        super().__init__(console, quiet, "waiting", detail="losses")
        self._begun = time.monotonic()
        self.first_preview_s: float | None = None

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Preview) and self.first_preview_s is None:
            self.first_preview_s = time.monotonic() - self._begun
        elif isinstance(event, Queued) and event.position:
            self.say(f"waiting behind {event.position} other job(s)")
        elif isinstance(event, Started):
            self.update(description="preparing", completed=0, total=1)
            self.say(f"{event.width} x {event.height} px, {event.steps} steps on {event.device}; preparing")
        elif isinstance(event, Preparing):
            self.update(completed=event.part, total=event.parts)
            if event.remaining_s is not None:
                self.eta.report(event.remaining_s)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Rendering):
            self._rendering(event)
        elif isinstance(event, Warning):
            self.warn(event.message)
        elif isinstance(event, Draft | Gap):
            self.say(_remark(event))

    def _progress(self, event: Progress) -> None:
        terms = event.losses
        losses = (
            f"total {terms.total:.0f}  direction {terms.direction:.2f}  patch {terms.patch:.2f}  "
            f"content {terms.content:.2f}  tv {terms.total_variation:.0f}  rejected {event.rejected:.0%}"
        )
        self.eta.report(event.remaining_s)
        self.update(description="stylizing", completed=event.step, total=event.steps, losses=losses)
        if self.needs_line(event.step, event.steps):
            self.say(f"step {event.step}/{event.steps}  {losses}  {event.remaining_s:.0f} s left")

    def _rendering(self, event: Rendering) -> None:
        self.update(description="drawing", completed=event.tile, total=event.tiles, losses="")
        if event.tile == 0 and self.needs_line(0, event.tiles):
            self.say(f"drawing the result in {event.tiles} tile(s)")


def _remark(event: Draft | Gap) -> str:
    """Return the line about an event beside the progress."""
    if isinstance(event, Draft):
        return f"draft in the style {event.style_text!r} ({event.style[:19]}), not yet of this run"
    if event.log_expired:
        return "earlier events are no longer stored"
    return f"skipped {event.skipped_progress} progress events and {event.skipped_previews} previews: slow reader"
