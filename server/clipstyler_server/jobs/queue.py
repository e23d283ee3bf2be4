"""The bounded queue in front of the worker: urgent before patient, and every client in turn."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from clipstyler_server.jobs.model import Job

# So often a class may be passed over in a row before it has a turn, however urgent the others are.
PATIENCE = 4
_CLIENTS_REMEMBERED = 1024


class QueueFullError(Exception):
    """Every place is taken."""


class JobQueue:
    """Jobs that wait.

    The most urgent class goes first, unless another was passed over `PATIENCE` times. Within a class the client
    whose last turn is longest ago goes next, with its oldest job.

    Parameters
    ----------
    capacity
        Jobs that may wait besides the one that runs.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._jobs: dict[str, Job] = {}
        self._reserved = 0
        self._turns = _Turns()

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
        """Add a job; returns how many would go before it now."""
        self._jobs[job.id] = job
        return self.before(job.id).index(job)

    def before(self, job_id: str) -> list[Job]:
        """List jobs in the order in which they would go now, to this one; all if it does not wait here."""
        turns, waiting = self._turns.copy(), dict(self._jobs)
        order = []
        while waiting:
            job = turns.take(waiting)
            order.append(job)
            if job.id == job_id:
                break
        return order

    def pop(self) -> Job | None:
        """Take the next job; None if nothing waits."""
        return self._turns.take(self._jobs) if self._jobs else None

    def remove(self, job_id: str) -> Job | None:
        """Take a job out of the middle; None if it does not wait here."""
        return self._jobs.pop(job_id, None)


class _Turns:
    """Who had a turn when."""

    def __init__(self) -> None:
        self._last_turn: OrderedDict[str, int] = OrderedDict()
        self._passed_over: Counter[int] = Counter()
        self._turn = 0

    def copy(self) -> _Turns:
        """Copy it, to look ahead."""
        twin = _Turns()
        twin._last_turn = self._last_turn.copy()
        twin._passed_over = self._passed_over.copy()
        twin._turn = self._turn
        return twin

    def take(self, waiting: dict[str, Job]) -> Job:
        """Take the next job out; they are in the order in which they came."""
        priority = self._class({job.priority for job in waiting.values()})
        candidates = [job for job in waiting.values() if job.priority == priority]
        job = min(candidates, key=lambda job: self._last_turn.get(job.client, 0))
        self._turn += 1
        self._last_turn[job.client] = self._turn
        self._last_turn.move_to_end(job.client)
        if len(self._last_turn) > _CLIENTS_REMEMBERED:
            self._last_turn.popitem(last=False)
        return waiting.pop(job.id)

    def _class(self, present: set[int]) -> int:
        ordered = sorted(present, reverse=True)
        chosen = next((one for one in reversed(ordered) if self._passed_over[one] >= PATIENCE), ordered[0])
        for one in ordered:
            self._passed_over[one] = 0 if one == chosen else self._passed_over[one] + 1
        return chosen
