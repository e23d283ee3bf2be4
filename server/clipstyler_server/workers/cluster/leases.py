"""Leases of jobs: a front that is not heard of for so long has lost them, and their work stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

_LOOKS_PER_LEASE = 10


class Leases:
    """Leases of running jobs; each ends a while after it was last renewed.

    Parameters
    ----------
    lease_s
        Seconds that a lease lasts.
    on_end
        Called with the id of a job whose lease has ended, on a thread of its own.
    """

    def __init__(self, lease_s: float, on_end: Callable[[str], None]) -> None:
        self._lease_s = lease_s
        self._on_end = on_end
        self._lock = threading.Lock()
        self._ends: dict[str, float] = {}
        threading.Thread(target=self._watch, name="leases", daemon=True).start()

    def begin(self, job_id: str) -> None:
        """Begin the lease of a job."""
        with self._lock:
            self._ends[job_id] = time.monotonic() + self._lease_s

    def renew(self, job_ids: Iterable[str]) -> None:
        """Renew the leases of jobs, as far as they have not ended."""
        now = time.monotonic()
        with self._lock:
            self._ends |= {job_id: now + self._lease_s for job_id in job_ids if job_id in self._ends}

    def end(self, job_id: str) -> None:
        """End the lease of a finished job."""
        with self._lock:
            self._ends.pop(job_id, None)

    def _watch(self) -> None:
        while True:
            time.sleep(self._lease_s / _LOOKS_PER_LEASE)
            now = time.monotonic()
            with self._lock:
                ended = [job_id for job_id, end in self._ends.items() if end <= now]
                for job_id in ended:
                    del self._ends[job_id]
            for job_id in ended:
                self._on_end(job_id)
