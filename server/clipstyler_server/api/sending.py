"""Responses that are made late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.protobuf.message import Message


@dataclass(frozen=True)
class Deferred:
    """A large response of a stream that is made once there is room for its bytes: a call that waits holds none.

    Attributes
    ----------
    size
        Of the response, in bytes.
    make
        Makes it.
    """

    size: int
    make: Callable[[], Awaitable[Message]]
