"""Signals that end the server: a request, Ctrl-C, and a closed terminal. The front process alone follows them."""

from __future__ import annotations

import signal

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def leave_to_the_front() -> None:
    """Ignore them in this process: one to the whole process group is for the front, which ends this in its own time."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
