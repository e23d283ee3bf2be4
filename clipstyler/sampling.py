"""A few of many items, evenly spaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


def evenly(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """Return so many of some items, evenly spaced; all if there are not more."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * index + 1) * len(items) // (2 * count)] for index in range(count)]


class EvenSample(Generic[ItemT]):
    """A few items of a stream whose length is not known; it holds twice as many at most.

    Parameters
    ----------
    count
        How many are chosen.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._every = 1
        self._seen = 0
        self._held: list[ItemT] = []

    def add(self, item: ItemT) -> None:
        """Take the next item."""
        if self._seen % self._every == 0:
            if len(self._held) == 2 * self._count:
                self._held = self._held[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._held.append(item)
        self._seen += 1

    def chosen(self) -> list[ItemT]:
        """Return the sample, in order; all items if there were not more."""
        return evenly(self._held, self._count)
