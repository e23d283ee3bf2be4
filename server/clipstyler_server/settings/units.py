"""Units and names that settings share."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

MIB = 2**20
# No limit of bytes exceeds what the system can count.
MOST_BYTES = 2**60

_Value = TypeVar("_Value")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


Separated = Annotated[tuple[_Value, ...], NoDecode, BeforeValidator(_split)]
"""Several values, separated by commas."""
