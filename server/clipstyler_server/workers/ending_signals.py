"""Signals that end the server: a request, Ctrl-C, and a closed terminal. The front process alone follows them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def leave_to_the_front() -> None:
    """Ignore them in this process: one to the whole process group is for the front, which ends this in its own time."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold them back from what this thread starts: it would die of them before it can ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
