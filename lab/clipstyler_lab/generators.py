"""Generators whose progress nobody watches."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_Returned = TypeVar("_Returned")


def completed(work: Generator[object, None, _Returned]) -> _Returned:
    """Run a generator to its end; returns what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            returned: _Returned = end.value
            return returned
