"""The C library's allocator, with glibc; with another C library nothing happens. No PyTorch here."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

_CHOICE = "PYTHONMALLOC"  # read by Python when it starts
_KIB, _MIB = 2**10, 2**20
_RETAINED_BYTES = 2**31 - 1  # the largest value of mallopt
_GROWTH_BYTES = 64 * _MIB
_LARGEST_KEPT_BYTES = 32 * _MIB  # the largest value that glibc takes for this threshold
_MAPPINGS = 65536
# Larger blocks are mapped on their own, so that freeing them returns them, however fragmented the heap is.
_MAPPED_BYTES = 256 * _KIB
_ARENAS = 2
_DEFAULTS = ((_M_MMAP_MAX, _MAPPINGS), (_M_TRIM_THRESHOLD, 128 * _KIB), (_M_TOP_PAD, 128 * _KIB))


def retain_memory() -> None:
    """Keep freed memory for the next allocation, up to 2 GiB, instead of returning it and faulting it in again.

    An optimization frees and allocates the same large blocks in every step. Blocks come from the heap, which keeps
    up to 2 GiB of free memory; the process takes about a quarter more memory at its peak. Results do not change.
    """
    _set_options((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _RETAINED_BYTES), (_M_TOP_PAD, _GROWTH_BYTES))


def retain_small_blocks() -> None:
    """Keep freed memory as `retain_memory` does, but return blocks of 32 MiB or more as soon as they are free.

    For work with a few very large blocks and many small ones: the heap does not grow by holes of the large ones.
    """
    _set_options(
        (_M_MMAP_MAX, _MAPPINGS),
        (_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES),
        (_M_TRIM_THRESHOLD, _RETAINED_BYTES),
        (_M_TOP_PAD, _GROWTH_BYTES),
    )


def use_defaults() -> None:
    """Undo `retain_memory`."""
    _set_options(*_DEFAULTS)


def keep_little_memory() -> None:
    """Map large blocks on their own, and use few heaps. Call it before threads start."""
    _set_options((_M_MMAP_THRESHOLD, _MAPPED_BYTES), (_M_ARENA_MAX, _ARENAS))


def restart_with_c_allocator() -> None:
    """Start this program again, in the same process, with Python's objects in the C library's memory.

    Python's own allocator returns memory in pieces of 1 MiB, and keeps a piece as long as one object in it lives; the
    C library returns single pages. A program that holds thousands of calls for a while gives five times as much back.
    Nothing happens the second time, with another C library, or where PYTHONMALLOC names an allocator. Processes that
    the program starts are not concerned.
    """
    if os.environ.get(_CHOICE) == "malloc":
        del os.environ[_CHOICE]
        return
    if _CHOICE in os.environ or not sys.executable or not _function("malloc_trim"):
        return
    os.environ[_CHOICE] = "malloc"
    for stream in (sys.stdout, sys.stderr):
        if stream:  # None if it was closed when the program started
            stream.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:  # replaced by an update, for instance: the program runs on with Python's allocator
        del os.environ[_CHOICE]


def return_unused_memory() -> None:
    """Return free memory to the system."""
    if trim := _function("malloc_trim"):
        trim(0)


def _set_options(*options: tuple[int, int]) -> None:
    if mallopt := _function("mallopt"):
        for option, value in options:
            mallopt(option, value)


@cache
def _function(name: str) -> Callable[..., Any] | None:
    """Find a function of glibc; None with another C library."""
    try:
        found: Callable[..., Any] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return found
