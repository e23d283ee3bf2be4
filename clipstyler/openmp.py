"""How PyTorch's threads wait for one another on a CPU. No PyTorch here: it has to be said before that is loaded."""

from __future__ import annotations

import os

SPINS = 3000
"""Times a thread of GNU's OpenMP asks whether it may go on before it sleeps: a few microseconds."""


def spin_briefly() -> None:
    """Let threads that wait go to sleep soon; call it before PyTorch is imported.

    By default they spin for milliseconds. Beside one other busy process a step on two threads then takes more than
    ten times as long as on one, because a thread that waits burns the core that the one it waits for should have;
    where they sleep at once, every step on a quiet machine is a fifth slower. `benchmarks/threads.py` measures both.

    What the environment says already (`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`) is left as it is.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
