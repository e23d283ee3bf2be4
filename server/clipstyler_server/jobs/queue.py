"""The bounded queue in front of the worker: first in, first out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clipstyler_server.jobs.model import Job


class QueueFullError(Exception):
    """Every place is taken."""


class JobQueue:
    """Jobs that wait.

    Parameters
    ----------
    capacity
        Jobs that may wait besides the one that runs.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._jobs: dict[str, Job] = {}
        self._reserved = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @contextmanager
    def reserve(self, running: int) -> Iterator[None]:
        """Keep a place for a job whose photo is still being decoded, so that admission stays bounded.

        Parameters
        ----------
        running
            Jobs that run now.

        Raises
        ------
        QueueFullError
            Every place is taken.
        """
        if running + len(self._jobs) + self._reserved > self.capacity:
            raise QueueFullError
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def put(self, job: Job) -> int:
        """Append a job; returns how many wait before it."""
        before = len(self._jobs)
        self._jobs[job.id] = job
        return before

    def pop(self) -> Job | None:
        """Take the first job; None if nothing waits."""
        return self._jobs.pop(next(iter(self._jobs))) if self._jobs else None

    def remove(self, job_id: str) -> Job | None:
        """Take a job out of the middle; None if it does not wait here."""
        return self._jobs.pop(job_id, None)
