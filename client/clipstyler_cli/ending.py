"""Commands that have children: what ends the command ends them too."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


def end_by(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let a handler end the command when that is asked for, and when its terminal is closed.

    Parameters
    ----------
    handler
        Raises what ends the command, so that its children are ended on the way out.
    """
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` sets it
        signal.signal(signal.SIGHUP, handler)
