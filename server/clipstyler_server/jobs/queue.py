"""The bounded queue in front of the engine: every caller's account in turn, and behind an account the urgent first.

Names are free to invent, accounts (a tenant, or else an address) are not: turns and places are counted by account, and
names divide only those.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from clipstyler_server.jobs.job import Job

# A class, or an account, passed over this many times in a row has the next turn, however urgent the others are.
MAX_SKIPS = 4


class QueueFullError(Exception):
    """Every place is taken, or every place that one caller may have (`of_caller`); there are `places` of them."""

    def __init__(self, places: int, of_caller: bool) -> None:
        super().__init__(places, of_caller)
        self.places = places
        self.of_caller = of_caller


class JobQueue:
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
        self._jobs: dict[str, Job] = {}
        self._reserved: Counter[str] = Counter()
        self._turns = _Turns()
        self._order: list[Job] | None = None

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

    @property
    def reserved(self) -> int:
        """Number of places reserved for jobs that are being admitted."""
        return self._reserved.total()

    def put(self, job: Job) -> None:
        """Add a job."""
        self._jobs[job.id] = job
        self._turns.add(job)
        self._order = None

    def put_back(self, job: Job) -> None:
        """Add a job that was taken and could not be run: it goes before the others of its caller."""
        self._jobs[job.id] = job
        self._turns.add(job, first=True)
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
    """Whose turn it is: rounds in which every account has one turn."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._served: set[str] = set()  # in this round
        self._passed_over: Counter[str] = Counter()

    def copy(self) -> _Turns:
        """Copy it, to look ahead."""
        twin = _Turns()
        twin._lines = OrderedDict((account, line.copy()) for account, line in self._lines.items())
        twin._served, twin._passed_over = self._served.copy(), self._passed_over.copy()
        return twin

    def waiting(self, account: str) -> int:
        """Count the jobs of an account."""
        line = self._lines.get(account)
        return len(line) if line else 0

    def add(self, job: Job, first: bool = False) -> None:
        """Add a job; one that goes first gives its caller's turn back."""
        account = job.caller.account
        self._lines.setdefault(account, _Line()).add(job, first)
        if first:
            self._served.discard(account)
            self._lines.move_to_end(account, last=False)

    def remove(self, job: Job) -> None:
        """Remove a job."""
        account = job.caller.account
        self._lines[account].remove(job)
        if account not in self._served:
            self._forget_if_empty(account)

    def take(self) -> Job:
        """Take the next job; there must be one."""
        waiting = [account for account, line in self._lines.items() if line and account not in self._served]
        if not waiting:
            self._begin_round()
            waiting = list(self._lines)
        chosen = next((account for account in waiting if self._passed_over[account] >= MAX_SKIPS), None)
        if chosen is None:
            chosen = max(waiting, key=lambda account: self._lines[account].urgency)  # of equals, the first
        self._passed_over.update(waiting[: waiting.index(chosen)])
        del self._passed_over[chosen]
        self._served.add(chosen)
        self._lines.move_to_end(chosen)
        return self._lines[chosen].take()

    def _begin_round(self) -> None:
        """Give every account a turn again; those served remember whose turn it was behind them until now."""
        for account in self._served:
            self._forget_if_empty(account)
        self._served.clear()

    def _forget_if_empty(self, account: str) -> None:
        if not self._lines[account]:
            del self._lines[account], self._passed_over[account]


class _Line:
    """The jobs of one account: one ring of names per class of priority."""

    def __init__(self) -> None:
        self._rings: dict[int, _Ring] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rings.values()))

    @property
    def urgency(self) -> int:
        """Priority of the next job."""
        return self._next_class()

    def copy(self) -> _Line:
        twin = _Line()
        twin._rings = {priority: ring.copy() for priority, ring in self._rings.items()}
        return twin

    def add(self, job: Job, first: bool) -> None:
        self._rings.setdefault(job.priority, _Ring()).add(job, first)

    def remove(self, job: Job) -> None:
        self._rings[job.priority].remove(job)

    def take(self) -> Job:
        chosen = self._rings[self._next_class()]
        for ring in filter(None, self._rings.values()):
            ring.passed_over = 0 if ring is chosen else ring.passed_over + 1
        return chosen.take()

    def _next_class(self) -> int:
        present = sorted(priority for priority, ring in self._rings.items() if ring)
        # Of the classes skipped often enough, the least urgent: it has the fewest chances.
        skipped = (priority for priority in present if self._rings[priority].passed_over >= MAX_SKIPS)
        return next(skipped, present[-1])


class _Ring:
    """The names of one class, the next one first, each with its jobs in order of arrival."""

    def __init__(self) -> None:
        self.passed_over = 0
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._last: str | None = None

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def copy(self) -> _Ring:
        twin = _Ring()
        twin.passed_over, twin._last = self.passed_over, self._last
        twin._lines = OrderedDict((name, line.copy()) for name, line in self._lines.items())
        return twin

    def add(self, job: Job, first: bool) -> None:
        name = job.caller.name
        if first:
            self._lines.setdefault(name, deque()).appendleft(job)
            self._lines.move_to_end(name, last=False)
            return
        if line := self._lines.get(name):
            line.append(job)
            return
        self._lines[name] = deque([job])
        # A new name goes after all names already waiting, so that inventing names gains nothing, but before the
        # one that has just had a turn.
        if self._last is not None and self._last in self._lines:
            self._lines.move_to_end(self._last)

    def remove(self, job: Job) -> None:
        line = self._lines[job.caller.name]
        line.remove(job)
        if not line:
            del self._lines[job.caller.name]

    def take(self) -> Job:
        self._last, line = self._lines.popitem(last=False)
        job = line.popleft()
        if line:
            self._lines[self._last] = line
        return job
