"""Processor time of a piece of work, whatever else runs on the machine or in this process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def thread_seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of this thread alone, without collecting what other tests have left."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        begun = time.thread_time()
        work()
        return time.thread_time() - begun
    finally:
        if was_enabled:
            gc.enable()
