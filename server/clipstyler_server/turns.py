"""Whose turn it is: every caller's account in turn, and behind an account the urgent first. Pure: it only orders.

Names are free to invent, accounts (a tenant, or else an address) are not: turns are counted by account, and names
divide only those.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from clipstyler_server.sharing import Caller

# A class, or an account, passed over this many times in a row has the next turn, however urgent the others are.
MAX_SKIPS = 4


class QueueFullError(Exception):
    """Every place is taken, or every place that one caller may have (`of_caller`); there are `places` of them."""

    def __init__(self, places: int, of_caller: bool) -> None:
        super().__init__(places, of_caller)
        self.places = places
        self.of_caller = of_caller


class Waiting(Protocol):
    """What waits for its turn."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def caller(self) -> Caller:
        """Who asked for it."""
        ...

    @property
    def priority(self) -> int:
        """Class in the queue; larger goes first."""
        ...


W = TypeVar("W", bound=Waiting)


class Turns(Generic[W]):
    """Whose turn it is: rounds in which every account has one turn."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line[W]] = OrderedDict()
        self._served: set[str] = set()  # in this round
        self._passed_over: Counter[str] = Counter()

    def copy(self) -> Turns[W]:
        """Copy it, to look ahead."""
        twin: Turns[W] = Turns()
        twin._lines = OrderedDict((account, line.copy()) for account, line in self._lines.items())
        twin._served, twin._passed_over = self._served.copy(), self._passed_over.copy()
        return twin

    @classmethod
    def load(cls, text: str, waiting: Iterable[W]) -> Turns[W]:
        """Restore what `dump` wrote, for those that still wait, in order of arrival; others have left."""
        turns = cls()
        for account, is_served, passed_over, line in json.loads(text):
            turns._lines[account] = _Line.load(line)
            if is_served:
                turns._served.add(account)
            if passed_over:
                turns._passed_over[account] = passed_over
        unknown = [job for job in waiting if not turns._put_in_place(job)]
        for account, line in list(turns._lines.items()):
            line.forget_empty_names()
            if account not in turns._served:
                turns._forget_if_empty(account)
        for job in unknown:
            turns.add(job)
        return turns

    def dump(self) -> str:
        """Write down the turns as JSON: everything but the jobs themselves."""
        lines = [
            [account, account in self._served, self._passed_over[account], line.dump()]
            for account, line in self._lines.items()
        ]
        return json.dumps(lines)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def order(self) -> list[W]:
        """List the jobs in the order in which they would be taken."""
        twin = self.copy()
        return [twin.take() for _ in range(len(self))]

    def waiting(self, account: str) -> int:
        """Count the jobs of an account."""
        line = self._lines.get(account)
        return len(line) if line else 0

    def add(self, job: W, first: bool = False) -> None:
        """Add a job; one that goes first gives its caller's turn back."""
        account = job.caller.account
        self._lines.setdefault(account, _Line()).add(job, first)
        if first:
            self._served.discard(account)
            self._lines.move_to_end(account, last=False)

    def remove(self, job: W) -> None:
        """Remove a job."""
        account = job.caller.account
        self._lines[account].remove(job)
        if account not in self._served:
            self._forget_if_empty(account)

    def take(self) -> W:
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

    def _put_in_place(self, job: W) -> bool:
        """Put a job where its name stands already; returns whether it stands somewhere."""
        line = self._lines.get(job.caller.account)
        return line is not None and line.put_in_place(job)

    def _begin_round(self) -> None:
        """Give every account a turn again; those served remember whose turn it was behind them until now."""
        for account in self._served:
            self._forget_if_empty(account)
        self._served.clear()

    def _forget_if_empty(self, account: str) -> None:
        if not self._lines[account]:
            del self._lines[account], self._passed_over[account]


class _Line(Generic[W]):
    """The jobs of one account: one ring of names per class of priority."""

    def __init__(self) -> None:
        self._rings: dict[int, _Ring[W]] = {}

    @classmethod
    def load(cls, rings: list[Any]) -> _Line[W]:
        line = cls()
        line._rings = {priority: _Ring.load(*ring) for priority, *ring in rings}
        return line

    def dump(self) -> list[Any]:
        return [[priority, *ring.dump()] for priority, ring in self._rings.items()]

    def put_in_place(self, job: W) -> bool:
        ring = self._rings.get(job.priority)
        return ring is not None and ring.put_in_place(job)

    def forget_empty_names(self) -> None:
        for ring in self._rings.values():
            ring.forget_empty_names()

    def __len__(self) -> int:
        return sum(map(len, self._rings.values()))

    @property
    def urgency(self) -> int:
        """Priority of the next job."""
        return self._next_class()

    def copy(self) -> _Line[W]:
        twin: _Line[W] = _Line()
        twin._rings = {priority: ring.copy() for priority, ring in self._rings.items()}
        return twin

    def add(self, job: W, first: bool) -> None:
        self._rings.setdefault(job.priority, _Ring()).add(job, first)

    def remove(self, job: W) -> None:
        self._rings[job.priority].remove(job)

    def take(self) -> W:
        chosen = self._rings[self._next_class()]
        for ring in filter(None, self._rings.values()):
            ring.passed_over = 0 if ring is chosen else ring.passed_over + 1
        return chosen.take()

    def _next_class(self) -> int:
        present = sorted(priority for priority, ring in self._rings.items() if ring)
        # Of the classes skipped often enough, the least urgent: it has the fewest chances.
        skipped = (priority for priority in present if self._rings[priority].passed_over >= MAX_SKIPS)
        return next(skipped, present[-1])


class _Ring(Generic[W]):
    """The names of one class, the next one first, each with its jobs in order of arrival."""

    def __init__(self) -> None:
        self.passed_over = 0
        self._lines: OrderedDict[str, deque[W]] = OrderedDict()
        self._last: str | None = None

    @classmethod
    def load(cls, passed_over: int, last: str | None, names: list[str]) -> _Ring[W]:
        ring = cls()
        ring.passed_over, ring._last = passed_over, last
        ring._lines = OrderedDict((name, deque()) for name in names)
        return ring

    def dump(self) -> list[Any]:
        return [self.passed_over, self._last, list(self._lines)]

    def put_in_place(self, job: W) -> bool:
        line = self._lines.get(job.caller.name)
        if line is None:
            return False
        line.append(job)
        return True

    def forget_empty_names(self) -> None:
        self._lines = OrderedDict((name, line) for name, line in self._lines.items() if line)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def copy(self) -> _Ring[W]:
        twin: _Ring[W] = _Ring()
        twin.passed_over, twin._last = self.passed_over, self._last
        twin._lines = OrderedDict((name, line.copy()) for name, line in self._lines.items())
        return twin

    def add(self, job: W, first: bool) -> None:
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

    def remove(self, job: W) -> None:
        line = self._lines[job.caller.name]
        line.remove(job)
        if not line:
            del self._lines[job.caller.name]

    def take(self) -> W:
        self._last, line = self._lines.popitem(last=False)
        job = line.popleft()
        if line:
            self._lines[self._last] = line
        return job
