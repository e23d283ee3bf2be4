"""Generated probe images and probe texts: the same on every machine, without files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TEXTS = (
    "a Photo",
    "fire",
    "a sketch with black pencil",
    "stained glass",
    "a watercolor painting with purple brush",
    "stone wall",
    "Starry Night by Vincent van Gogh",
    "neon light",
)
_SEED = 20221


def images(side: int, count: int = 8) -> Floats:
    """Waves, checks and noise in color: float32 (count, 3, side, side) in [0, 1]."""
    rng = np.random.default_rng(_SEED)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    made = []
    for number in range(count):
        turn, pitch, phase = rng.uniform(0, np.pi), rng.uniform(2, 24), rng.uniform(0, 2 * np.pi, 3)
        wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * pitch * np.pi + phase[:, None, None])
        checks = (np.floor(x * pitch / 2) + np.floor(y * pitch / 2)) % 2
        noise = rng.random((3, side, side), np.float32)
        share = (number + 0.5) / count
        made.append(0.5 + 0.35 * wave * (1 - 0.5 * checks) + 0.4 * share * (noise - 0.5))
    probes: Floats = np.clip(np.stack(made), 0, 1).astype(np.float32)
    return probes
