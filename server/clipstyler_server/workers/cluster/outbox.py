"""Messages of an optimizer to the front, kept until it says that it has them: no answer that is lost loses one."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, NamedTuple

from clipstyler.events import Preview
from clipstyler_server.workers.messages import TaskEvent


class Numbered(NamedTuple):
    """A message with its number; numbers increase."""

    number: int
    message: Any


class Outbox:
    """A list of messages that any thread may add to, and one fetches from.

    Of the previews of a job that were not fetched only the latest is kept: a front that is slow to come lets nothing
    pile up here.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Numbered] = []
        self._last = 0
        self._fetched = 0

    def put(self, message: Any) -> None:
        """Add a message; returns at once."""
        with self._changed:
            if isinstance(message, TaskEvent) and isinstance(message.event, Preview):
                message = self._in_place_of_earlier(message, message.event)
            self._last += 1
            self._waiting.append(Numbered(self._last, message))
            self._changed.notify_all()

    def fetch(self, seen: int, wait_s: float) -> list[Numbered]:
        """Forget what the front has seen, and return all after that; waits for a moment if there is nothing."""
        with self._changed:
            self._waiting = [one for one in self._waiting if one.number > seen]
            self._changed.wait_for(lambda: self._waiting, wait_s)
            self._fetched = self._last
            return list(self._waiting)

    def _in_place_of_earlier(self, message: TaskEvent, preview: Preview[Any]) -> TaskEvent:
        """Drop the preview of the same job that was not fetched; the new one counts it as skipped."""
        for one in self._waiting:
            earlier = one.message
            is_preview = isinstance(earlier, TaskEvent) and isinstance(earlier.event, Preview)
            if one.number > self._fetched and is_preview and earlier.job_id == message.job_id:
                self._waiting.remove(one)
                return replace(message, event=replace(preview, skipped=preview.skipped + earlier.event.skipped + 1))
        return message
