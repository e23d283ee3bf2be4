"""How often a run reports progress: a GPU completes hundreds of steps per second, which no one can follow."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TypeVar

from clipstyler.events import Progress
from clipstyler.spec import PreviewPolicy

EventT = TypeVar("EventT")


class ProgressPace:
    """Holds back progress that follows too soon, until other progress or another event follows.

    Progress of a step with a preview is never held back, and that of the last step comes before what follows it.

    Parameters
    ----------
    previews
        Which steps have one.
    interval_s
        Least time between two reports in seconds; 0 holds nothing back.
    """

    def __init__(self, previews: PreviewPolicy, interval_s: float) -> None:
        self._previews = previews
        self._interval_s = interval_s
        self._due = 0.0
        self._held: list[Progress] = []  # steps since the latest report, in order

    def paced(self, event: EventT) -> list[EventT | Progress]:
        """Return what is to be sent now that an event has come, in order."""
        if not isinstance(event, Progress):
            return [*self._released(), event]
        self._held.append(event)
        is_due = self._previews.wants(event.step) or time.monotonic() >= self._due
        return [*self._released()] if is_due else []

    def _released(self) -> list[Progress]:
        """Return the latest of what is held back; its step time is the mean of all."""
        held, self._held = self._held, []
        if not held:
            return []
        self._due = time.monotonic() + self._interval_s
        return [replace(held[-1], step_s=sum(step.step_s for step in held) / len(held))]
