"""How PyTorch's threads wait for each other on a CPU. No PyTorch here: the setting must precede its import."""

from __future__ import annotations

import os

SPINS = 3000
"""Times a thread of GNU's OpenMP asks whether it may go on before it sleeps: a few microseconds."""


def spin_briefly() -> None:
    """Let waiting threads sleep soon; call it before PyTorch is imported.

    By default they spin for milliseconds. Beside one other busy process a step on two threads then takes more than
    ten times as long as on one, because a waiting thread occupies the core that the other thread needs;
    if they sleep at once, every step on an idle machine is a fifth slower. `benchmarks/threads.py` measures both.

    Variables that are set already (`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`) are left unchanged.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
