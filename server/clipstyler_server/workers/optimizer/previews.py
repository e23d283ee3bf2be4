"""Previews are encoded on a thread of their own, the latest only, so that no step waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from clipstyler.events import Preview
from clipstyler.imaging import Picture, encoded, shrink
from clipstyler.spec import PreviewPolicy
from clipstyler_server.observability import logs
from clipstyler_server.workers.messages import TaskEvent


@dataclass(frozen=True)
class _Raw:
    job_id: str
    step: int
    picture: Picture
    policy: PreviewPolicy


class PreviewEncoder:
    """One slot and one thread: a picture that arrives while another waits in the slot replaces it.

    Parameters
    ----------
    send
        Receives finished previews; called on the encoding thread.
    """

    def __init__(self, send: Callable[[TaskEvent], None]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._slot: _Raw | None = None
        self._skipped = 0
        self._busy = False
        threading.Thread(target=self._encode_all, name="preview-encoder", daemon=True).start()

    def offer(self, job_id: str, step: int, picture: Picture, policy: PreviewPolicy) -> None:
        """Queue a picture to be encoded; returns at once."""
        with self._changed:
            self._skipped += self._slot is not None
            self._slot = _Raw(job_id, step, picture, policy)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything queued was sent: what is sent afterwards follows all previews."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot is None and not self._busy)

    def discard(self) -> None:
        """Drop what waits, and wait for the one being encoded."""
        with self._changed:
            self._slot, self._skipped = None, 0
            self._changed.wait_for(lambda: not self._busy)

    def _encode_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot is not None)
                raw, skipped = self._slot, self._skipped
                self._slot, self._skipped, self._busy = None, 0, True
            if raw is not None:
                self._encode(raw, skipped)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _encode(self, raw: _Raw, skipped: int) -> None:
        try:
            image = encoded(shrink(raw.picture, raw.policy.max_size), raw.policy.format)
        except Exception:  # noqa: BLE001 - a job is worth more than one of its previews
            logs.get_logger().exception("preview_failed", job_id=raw.job_id, step=raw.step)
        else:
            self._send(TaskEvent(raw.job_id, Preview(raw.step, image, skipped)))
