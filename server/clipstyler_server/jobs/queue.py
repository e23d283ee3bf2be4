"""The bounded queue in front of the engine: by class of priority, and within a class every client in turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from clipstyler_server.jobs.job import Job

# A class passed over this many times in a row has the next turn, however urgent the others are.
MAX_SKIPS = 4


class QueueFullError(Exception):
    """Every place is taken."""


class JobQueue:
    """Jobs that wait.

    The most urgent class goes first, unless another was passed over `MAX_SKIPS` times. Within a class, clients take
    turns, each with its oldest job.

    Parameters
    ----------
    capacity
        Maximum number of waiting jobs, besides the running one.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._jobs: dict[str, Job] = {}
        self._reserved = 0
        self._turns = _Turns()
        self._order: list[Job] | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    @contextmanager
    def reserve(self, running: int) -> Iterator[None]:
        """Reserve a place for a job whose photo is still being decoded, so that admission is bounded.

        Parameters
        ----------
        running
            Jobs running now.

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

    def put(self, job: Job) -> None:
        """Add a job."""
        self._jobs[job.id] = job
        self._turns.add(job)
        self._order = None

    def order(self) -> list[Job]:
        """List the jobs in the order in which they would run now."""
        if self._order is None:
            turns = self._turns.copy()
            self._order = [turns.take() for _ in self._jobs]
        return self._order

    def before(self, newcomer: Job) -> list[Job]:
        """List the jobs that would run before one that is not in the queue yet."""
        turns = self._turns.copy()
        turns.add(newcomer)
        ahead = []
        while (job := turns.take()) is not newcomer:
            ahead.append(job)
        return ahead

    def pop(self) -> Job | None:
        """Take the next job; None if none waits."""
        if not self._jobs:
            return None
        self._order = None
        return self._jobs.pop(self._turns.take().id)

    def remove(self, job_id: str) -> Job | None:
        """Take a job out of the middle; None if it is not in the queue."""
        if job := self._jobs.pop(job_id, None):
            self._turns.remove(job)
            self._order = None
        return job


class _Turns:
    """Whose turn it is: one ring of clients per class."""

    def __init__(self) -> None:
        self._rings: dict[int, _Ring] = {}

    def copy(self) -> _Turns:
        """Copy it, to look ahead."""
        twin = _Turns()
        twin._rings = {priority: ring.copy() for priority, ring in self._rings.items()}
        return twin

    def add(self, job: Job) -> None:
        """Add a job."""
        self._rings.setdefault(job.priority, _Ring()).add(job)

    def remove(self, job: Job) -> None:
        """Remove a job."""
        self._rings[job.priority].remove(job)

    def take(self) -> Job:
        """Take the next job; there must be one."""
        present = [self._rings[priority] for priority in sorted(self._rings, reverse=True) if self._rings[priority]]
        # Of the classes skipped often enough, the least urgent: it has the fewest chances.
        chosen = next((ring for ring in reversed(present) if ring.passed_over >= MAX_SKIPS), present[0])
        for ring in present:
            ring.passed_over = 0 if ring is chosen else ring.passed_over + 1
        return chosen.take()


class _Ring:
    """The clients of one class, the next one first, each with its jobs in order of arrival."""

    def __init__(self) -> None:
        self.passed_over = 0
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._last: str | None = None

    def __len__(self) -> int:
        return len(self._lines)

    def copy(self) -> _Ring:
        twin = _Ring()
        twin.passed_over, twin._last = self.passed_over, self._last
        twin._lines = OrderedDict((client, line.copy()) for client, line in self._lines.items())
        return twin

    def add(self, job: Job) -> None:
        if line := self._lines.get(job.client):
            line.append(job)
            return
        self._lines[job.client] = deque([job])
        # A new client goes after all clients already waiting, so that inventing names gains nothing, but before the
        # client that has just had a turn.
        if self._last is not None and self._last in self._lines:
            self._lines.move_to_end(self._last)

    def remove(self, job: Job) -> None:
        line = self._lines[job.client]
        line.remove(job)
        if not line:
            del self._lines[job.client]

    def take(self) -> Job:
        self._last, line = self._lines.popitem(last=False)
        job = line.popleft()
        if line:
            self._lines[self._last] = line
        return job
