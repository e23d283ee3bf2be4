"""Previews are encoded on a thread of their own, the latest of each job only, so that no step waits for them."""

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
    skipped: int


class PreviewEncoder:
    """One thread, and one slot per job: a picture that arrives while another waits in the slot replaces it.

    Parameters
    ----------
    send
        Receives finished previews; called on the encoding thread.
    """

    def __init__(self, send: Callable[[TaskEvent], None]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._slots: dict[str, _Raw] = {}
        self._encoding: str | None = None  # the job
        threading.Thread(target=self._encode_all, name="preview-encoder", daemon=True).start()

    def offer(self, job_id: str, step: int, picture: Picture, policy: PreviewPolicy) -> None:
        """Queue a picture to be encoded; returns at once."""
        with self._changed:
            replaced = self._slots.get(job_id)
            skipped = replaced.skipped + 1 if replaced else 0
            self._slots[job_id] = _Raw(job_id, step, picture, policy, skipped)
            self._changed.notify_all()

    def finish(self, job_id: str) -> None:
        """Wait until everything queued of a job was sent: what is sent afterwards follows all its previews."""
        with self._changed:
            self._changed.wait_for(lambda: job_id not in self._slots and self._encoding != job_id)

    def discard(self, job_id: str) -> None:
        """Drop what waits of a job, and wait for the one being encoded."""
        with self._changed:
            self._slots.pop(job_id, None)
            self._changed.wait_for(lambda: self._encoding != job_id)

    def _encode_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._slots))
                raw = self._slots.pop(next(iter(self._slots)))
                self._encoding = raw.job_id
            self._encode(raw)
            with self._changed:
                self._encoding = None
                self._changed.notify_all()

    def _encode(self, raw: _Raw) -> None:
        try:
            image = encoded(shrink(raw.picture, raw.policy.max_size), raw.policy.format)
        except Exception:  # noqa: BLE001 - a job is worth more than one of its previews
            logs.get_logger().exception("preview_failed", job_id=raw.job_id, step=raw.step)
        else:
            self._send(TaskEvent(raw.job_id, Preview(raw.step, image, raw.skipped)))
