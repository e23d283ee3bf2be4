"""Textures of solid materials: wood, stone, brick, marble, metals, rust, wool. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from clipstyler.pocket.noise import (
    Array,
    axes,
    blur,
    fbm,
    jitter,
    line_noise,
    palette,
    ramp,
    turned_axes,
    unit,
    voronoi,
)


def wood(rng: Generator, size: int) -> Array:
    """Planks with grain lines, knots bending them, and dark gaps."""
    across = int(rng.random() < 0.5)
    y = axes(size)[across]
    bend = fbm(rng, size, 2, 2.4)
    rings = (y * rng.uniform(5, 16) + bend * rng.uniform(1, 4)) % 1
    fibre = fbm(rng, size, 14, 1.1, (12, 1) if across else (1, 12))
    image = ramp(
        0.65 * np.abs(2 * rings - 1) + 0.35 * fibre,
        palette(rng, [(0.3, 0.17, 0.07), (0.55, 0.35, 0.17), (0.78, 0.58, 0.33)]),
    )
    plank = y * rng.integers(2, 6)
    tone = rng.uniform(0.75, 1.1, 8)[plank.astype(int)]
    gap = np.clip(np.minimum(plank % 1, 1 - plank % 1) * 60, 0.15, 1)
    return unit(image * (tone * gap)[..., None])


def stone(rng: Generator, size: int) -> Array:
    """Rounded, shaded stones of differing greys in dark joints."""
    cells = voronoi(rng, int(rng.integers(12, 60)), size, rng.uniform(0.2, 0.7))
    round_ = np.clip(cells.border / rng.uniform(4, 9), 0, 1)
    tone = rng.uniform(0.35, 0.8, len(cells.seeds))[cells.owner]
    y, x = np.mgrid[:size, :size]
    centre = cells.seeds[cells.owner]
    light = ((centre[..., 0] - y) + (centre[..., 1] - x)) / size
    rough = fbm(rng, size, 10, 0.9) - 0.5
    grey = tone * (0.55 + 0.45 * round_**0.5) + 0.7 * light + 0.28 * rough
    tint = np.stack([jitter(rng, (0.96, 0.93, 0.88), 0.025) for _ in cells.seeds])[cells.owner]
    joint = np.clip((cells.border - 0.6) / 2, 0, 1)[..., None]
    return unit(grey[..., None] * tint * joint + 0.1 * (1 - joint))


def brick(rng: Generator, size: int) -> Array:
    """Courses of red bricks in light mortar."""
    height = rng.uniform(9, 26)
    width = height * rng.uniform(1.9, 2.7)
    y, x = np.mgrid[:size, :size] + rng.uniform(0, 30, (2, 1, 1))
    row = (y // height).astype(int)
    x = x + (row % 2) * width / 2
    column = (x // width).astype(int)
    tone = rng.uniform(0.65, 1.15, (64, 64))[row % 64, column % 64]
    seam = np.minimum(np.minimum(y % height, height - y % height), np.minimum(x % width, width - x % width))
    clay = jitter(rng, (0.66, 0.27, 0.18), 0.05) * (tone + 0.3 * (fbm(rng, size, 10, 1) - 0.5))[..., None]
    mask = np.clip(seam - height / 18, 0, 1)[..., None]
    mortar = jitter(rng, (0.76, 0.73, 0.68), 0.05) * (0.85 + 0.2 * fbm(rng, size, 16, 0.8))[..., None]
    return unit(clay * mask + mortar * (1 - mask))


def marble(rng: Generator, size: int) -> Array:
    """White polished stone with thin grey veins."""
    clouds = fbm(rng, size, 2, 2)
    y, _ = turned_axes(rng, size)
    veins = np.abs(np.sin(y * rng.uniform(5, 14) + 5 * fbm(rng, size, 3, 1.9)))
    fine = np.abs(2 * fbm(rng, size, 5, 1.8) - 1)
    dark = 0.55 * np.exp(-veins * rng.uniform(6, 14)) + 0.35 * np.exp(-fine * 14) + 0.18 * clouds
    return unit(jitter(rng, (0.96, 0.95, 0.93), 0.02) - dark[..., None] * jitter(rng, (0.8, 0.8, 0.76), 0.05))


def _metal(rng: Generator, size: int, colours: list[tuple[float, float, float]]) -> Array:
    """Crumpled or brushed metal: hard highlights along a folded field, or streaks across a soft one."""
    if rng.random() < 0.65:
        folds = fbm(rng, size, rng.uniform(2, 5), 2.0)
        shine = np.abs(np.sin(folds * rng.uniform(5, 16)))
        shine = 0.8 * shine + 0.2 * fbm(rng, size, 24, 0.8)
    else:
        streaks = fbm(rng, size, 12, 0.6, (1, 30) if rng.random() < 0.5 else (30, 1))
        shine = 0.55 * fbm(rng, size, 2, 2.2) + 0.45 * streaks
    return ramp(shine, palette(rng, colours, 0.03))


def gold(rng: Generator, size: int) -> Array:
    """Crumpled gold foil or brushed gold."""
    return _metal(rng, size, [(0.22, 0.1, 0.0), (0.62, 0.4, 0.05), (0.9, 0.68, 0.18), (1, 0.86, 0.4), (1, 0.99, 0.8)])


def silver(rng: Generator, size: int) -> Array:
    """Chrome and brushed steel: cold greys with hard highlights."""
    return _metal(rng, size, [(0.08, 0.09, 0.1), (0.38, 0.4, 0.43), (0.7, 0.72, 0.75), (0.55, 0.57, 0.6), (1, 1, 1)])


def rust(rng: Generator, size: int) -> Array:
    """Corroded iron: blotches of orange and brown on grey-blue paint, with pits and runs."""
    blotch = 0.75 * fbm(rng, size, 3, 1.5) + 0.25 * fbm(rng, size, 12, 0.9, (4, 1))
    scale = fbm(rng, size, 22, 0.7)
    oxide = ramp(
        0.5 * blotch + 0.5 * scale,
        palette(rng, [(0.16, 0.06, 0.03), (0.45, 0.18, 0.06), (0.72, 0.35, 0.12), (0.85, 0.55, 0.3)], 0.03),
    )
    paint = jitter(rng, (0.42, 0.5, 0.52), 0.08) * (0.7 + 0.4 * scale[..., None])
    share = np.clip((blotch - rng.uniform(0.05, 0.4)) * 12, 0, 1)[..., None]
    return unit(oxide * share + paint * (1 - share))


def wool(rng: Generator, size: int) -> Array:
    """Knitted rows of V-shaped stitches in a soft colour."""
    pitch = rng.uniform(8, 20)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    column = x / pitch
    side = np.abs((column % 1) - 0.5) * 2
    phase = (y / pitch * 1.25 - side * 0.9) % 1
    stitch = np.abs(np.sin(np.pi * phase)) ** 0.7 * (0.45 + 0.55 * np.sin(np.pi * np.clip(side, 0.05, 0.95)) ** 0.5)
    colour = jitter(
        rng, [(0.75, 0.2, 0.2), (0.85, 0.78, 0.66), (0.3, 0.45, 0.65), (0.45, 0.55, 0.35)][rng.integers(4)], 0.1
    )
    band = jitter(rng, (0.9, 0.87, 0.8), 0.06)
    rows = (((y / pitch * 1.25) // 1).astype(int) // int(rng.integers(2, 7))) % 2
    base = np.where((rows * (rng.random() < 0.5))[..., None] > 0, band, colour)
    fuzz = line_noise(rng, size, np.full((size, size), 1.2, np.float32), 5, 0.5)
    return unit(base * (0.25 + 0.8 * blur(stitch.astype(np.float32), 0.6) + 0.2 * (fuzz - 0.5))[..., None])
