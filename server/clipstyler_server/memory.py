"""The allocator of this process: large blocks go back to the system when they are no longer used."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
# Larger blocks are mapped on their own, so that freeing them returns them, however fragmented the heap is.
_THRESHOLD_BYTES = 256 * 1024
_ARENAS = 2


def keep_little_memory() -> None:
    """Tell the allocator to map large blocks on their own, and to use few heaps. Call it before threads start."""
    if set_option := _function("mallopt"):
        set_option(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
        set_option(_M_ARENA_MAX, _ARENAS)


def return_unused_memory() -> None:
    """Return free memory to the system."""
    if trim := _function("malloc_trim"):
        trim(0)


@cache
def _function(name: str) -> Callable[..., Any] | None:
    """Find a function of glibc; None with another C library."""
    try:
        found: Callable[..., Any] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return found
