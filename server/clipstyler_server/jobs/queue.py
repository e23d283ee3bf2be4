"""The bounded queue in front of the engine: every caller's account in turn, and behind an account the urgent first.

Names are free to invent, accounts (a tenant, or else an address) are not: turns and places are counted by account, and
names divide only those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic

from clipstyler_server.turns import QueueFullError, Turns, W


class JobQueue(Generic[W]):
    """Jobs that wait.

    In each round every account has one turn, the most urgent next job first. Behind an account the most urgent class
    goes first, unless another was passed over `MAX_SKIPS` times; within a class, names take turns, each with its oldest
    job.

    Parameters
    ----------
    capacity
        Maximum number of waiting jobs, besides the running ones.
    share
        Largest fraction of the places that one account may have; unless it is 1, one place is kept for others.
    """

    def __init__(self, capacity: int, share: float = 1.0) -> None:
        self.capacity = capacity
        self._share = share
        self._jobs: dict[str, W] = {}
        self._reserved: Counter[str] = Counter()
        self._turns = Turns[W]()
        self._order: list[W] | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    def capacity_of(self, share: float | None = None) -> int:
        """Return the places that a caller may have: by default, or with a share of its own."""
        share = self._share if share is None else share
        capacity = self.capacity
        return capacity if share >= 1 else max(min(capacity, 1), int(min(capacity - 1, share * capacity)))

    @contextmanager
    def reserve(self, free: int, account: str = "", share: float | None = None) -> Iterator[None]:
        """Reserve a place for a job whose photo is still being decoded, so that admission is bounded.

        Parameters
        ----------
        free
            Jobs that would start at once.
        account, share
            Of the caller; None for the share of every caller.

        Raises
        ------
        QueueFullError
            Every place is taken.
        """
        if len(self._jobs) + self.reserved >= self.capacity + free:
            raise QueueFullError(self.capacity, of_caller=False)
        if self._turns.waiting(account) + self._reserved[account] >= (places := self.capacity_of(share)) + free:
            raise QueueFullError(places, of_caller=True)
        self._reserved[account] += 1
        try:
            yield
        finally:
            self._reserved[account] -= 1
            if not self._reserved[account]:
                del self._reserved[account]

    @property
    def reserved(self) -> int:
        """Number of places reserved for jobs that are being admitted."""
        return self._reserved.total()

    def put(self, job: W) -> None:
        """Add a job."""
        self._jobs[job.id] = job
        self._turns.add(job)
        self._order = None

    def put_back(self, job: W) -> None:
        """Add a job that was taken and could not be run: it goes before the others of its caller."""
        self._jobs[job.id] = job
        self._turns.add(job, first=True)
        self._order = None

    def order(self) -> list[W]:
        """List the jobs in the order in which they would run now."""
        if self._order is None:
            self._order = self._turns.order()
        return self._order

    def before(self, newcomer: W) -> list[W]:
        """List the jobs that would run before one that is not in the queue yet."""
        turns = self._turns.copy()
        turns.add(newcomer)
        ahead = []
        while (job := turns.take()) is not newcomer:
            ahead.append(job)
        return ahead

    def pop(self) -> W | None:
        """Take the next job; None if none waits."""
        if not self._jobs:
            return None
        self._order = None
        return self._jobs.pop(self._turns.take().id)

    def remove(self, job_id: str) -> W | None:
        """Take a job out of the middle; None if it is not in the queue."""
        if job := self._jobs.pop(job_id, None):
            self._turns.remove(job)
            self._order = None
        return job

    def show(self, turns: Turns[W], order: list[W]) -> None:
        """Become the image of a queue that is elsewhere, with its order; what is reserved here stays so."""
        self._turns = turns
        self._order = order
        self._jobs = {job.id: job for job in self._order}
