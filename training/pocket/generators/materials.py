"""Textures of solid materials: wood, stone, metals, glass, paper. See `noise` for the types."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from training.pocket.generators.noise import (
    Array,
    axes,
    fbm,
    hsv,
    jitter,
    palette,
    ramp,
    turned_axes,
    unit,
    voronoi,
    warp,
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
    """A wall of fieldstones; now and then of hewn blocks, or the bare rock."""
    kind = rng.random()
    if kind < 0.6:
        return _fieldstones(rng, size)
    return _blocks(rng, size) if kind < 0.8 else _rock(rng, size)


def _fieldstones(rng: Generator, size: int) -> Array:
    """Rounded, shaded stones of differing grays in dark joints."""
    cells = voronoi(rng, int(rng.integers(12, 60)), size, rng.uniform(0.2, 0.7))
    round_ = np.clip(cells.border / rng.uniform(4, 9), 0, 1)
    tone = rng.uniform(0.35, 0.8, len(cells.seeds))[cells.owner]
    y, x = np.mgrid[:size, :size]
    center = cells.seeds[cells.owner]
    light = ((center[..., 0] - y) + (center[..., 1] - x)) / size
    rough = fbm(rng, size, 10, 0.9) - 0.5
    gray = tone * (0.55 + 0.45 * round_**0.5) + 0.7 * light + 0.28 * rough
    tint = np.stack([jitter(rng, (0.96, 0.93, 0.88), 0.025) for _ in cells.seeds])[cells.owner]
    joint = np.clip((cells.border - 0.6) / 2, 0, 1)[..., None]
    return unit(gray[..., None] * tint * joint + 0.1 * (1 - joint))


_ROCK = (0.78, 0.75, 0.7)


def _blocks(rng: Generator, size: int) -> Array:
    """Courses of hewn blocks, each rough and lit on its upper edge, in dark joints."""
    height = rng.uniform(18, 44)
    courses = _courses(rng, size, height, height * rng.uniform(1.0, 2.2), 0.5, 1.0)
    rough = fbm(rng, size, rng.uniform(4, 14), rng.uniform(1.1, 1.5))
    relief = rough - np.roll(rough, 1, 0)
    edge = np.clip(courses.seam / rng.uniform(2, 5), 0, 1)
    gray = courses.tone * (0.45 + 0.4 * rough + rng.uniform(0.2, 0.8) * relief) * (0.35 + 0.65 * edge)
    return unit(gray[..., None] * jitter(rng, _ROCK, 0.04) * 1.5)


def _rock(rng: Generator, size: int) -> Array:
    """The face of a rock: a rough relief under a low light, in layers, with a few cracks."""
    layers = (rng.uniform(1, 4), 1) if rng.random() < 0.5 else (1, rng.uniform(1, 4))
    height = fbm(rng, size, rng.uniform(2, 6), rng.uniform(1.3, 1.9), layers)
    light = (height - np.roll(height, (1, 1), (0, 1))) * rng.uniform(0.8, 2.5)
    cracks = np.exp(-np.abs(2 * fbm(rng, size, rng.uniform(2, 5), 1.9) - 1) * rng.uniform(14, 30))
    gray = rng.uniform(0.4, 0.65) + 0.35 * (height - 0.5) + light - 0.35 * cracks
    return unit(gray[..., None] * jitter(rng, _ROCK, 0.04) * 1.25)


class _Courses(NamedTuple):
    """A laid wall: the tone of each pixel's block, and how many pixels it is from the joint."""

    tone: Array
    seam: Array


def _courses(rng: Generator, size: int, height: float, width: float, dark: float, bright: float) -> _Courses:
    """Lay blocks of a height and width in pixels, each course by half a block further."""
    y, x = np.mgrid[:size, :size] + rng.uniform(0, 30, (2, 1, 1))
    row = (y // height).astype(int)
    x = x + (row % 2) * width / 2
    column = (x // width).astype(int)
    tone = rng.uniform(dark, bright, (64, 64))[row % 64, column % 64]
    seam = np.minimum(np.minimum(y % height, height - y % height), np.minimum(x % width, width - x % width))
    return _Courses(tone, seam)


def brick(rng: Generator, size: int) -> Array:
    """Courses of red bricks in light mortar."""
    height = rng.uniform(9, 26)
    tone, seam = _courses(rng, size, height, height * rng.uniform(1.9, 2.7), 0.65, 1.15)
    clay = jitter(rng, (0.66, 0.27, 0.18), 0.05) * (tone + 0.3 * (fbm(rng, size, 10, 1) - 0.5))[..., None]
    mask = np.clip(seam - height / 18, 0, 1)[..., None]
    mortar = jitter(rng, (0.76, 0.73, 0.68), 0.05) * (0.85 + 0.2 * fbm(rng, size, 16, 0.8))[..., None]
    return unit(clay * mask + mortar * (1 - mask))


_COLORED_MARBLES = ((0.12, 0.25, 0.2), (0.08, 0.08, 0.09), (0.5, 0.25, 0.22), (0.62, 0.5, 0.38), (0.35, 0.36, 0.4))


def marble(rng: Generator, size: int) -> Array:
    """White polished stone with thin gray veins; now and then colored stone, clouded and veined in white."""
    return _white_marble(rng, size) if rng.random() < 0.7 else _colored_marble(rng, size)


def _colored_marble(rng: Generator, size: int) -> Array:
    bend = (fbm(rng, size, 2, 2.2) - 0.5) * size * rng.uniform(0.2, 0.6)
    clouds = warp(fbm(rng, size, rng.uniform(2, 5), 1.5), bend, np.roll(bend, size // 3, 1))
    veins = np.exp(-np.abs(2 * warp(fbm(rng, size, rng.uniform(2, 4), 1.8), bend, -bend) - 1) * rng.uniform(12, 30))
    body = jitter(rng, _COLORED_MARBLES[rng.integers(len(_COLORED_MARBLES))], 0.05)
    stone = body * (0.55 + 0.9 * clouds)[..., None]
    pale = (rng.uniform(0.4, 0.9) * veins)[..., None]
    return unit(stone * (1 - pale) + pale * jitter(rng, (0.93, 0.92, 0.88), 0.04))


def _white_marble(rng: Generator, size: int) -> Array:
    clouds = fbm(rng, size, 2, 2)
    y, _ = turned_axes(rng, size)
    veins = np.abs(np.sin(y * rng.uniform(4, 10) + rng.uniform(3, 6) * fbm(rng, size, 2, 2.4)))
    fine = np.abs(2 * fbm(rng, size, 4, 2.2) - 1)
    dark = 0.6 * np.exp(-veins * rng.uniform(2.5, 10)) + 0.35 * np.exp(-fine * 14) + 0.18 * clouds
    return unit(jitter(rng, (0.96, 0.95, 0.93), 0.02) - dark[..., None] * jitter(rng, (0.8, 0.8, 0.76), 0.05))


def _metal(rng: Generator, size: int, colors: list[tuple[float, float, float]]) -> Array:
    """Crumpled or brushed metal: hard highlights along a folded field, or streaks across a soft one."""
    if rng.random() < 0.65:
        folds = fbm(rng, size, rng.uniform(2, 5), rng.uniform(2.0, 2.8))
        shine = np.abs(np.sin(folds * rng.uniform(5, 16)))
        shine = 0.8 * shine + 0.2 * fbm(rng, size, 24, 0.8)
    else:
        streaks = fbm(rng, size, 12, 0.6, (1, 30) if rng.random() < 0.5 else (30, 1))
        shine = 0.55 * fbm(rng, size, 2, 2.2) + 0.45 * streaks
    return ramp(shine, palette(rng, colors, 0.03))


def gold(rng: Generator, size: int) -> Array:
    """Crumpled gold foil or brushed gold."""
    return _metal(rng, size, [(0.22, 0.1, 0.0), (0.62, 0.4, 0.05), (0.9, 0.68, 0.18), (1, 0.86, 0.4), (1, 0.99, 0.8)])


def silver(rng: Generator, size: int) -> Array:
    """Chrome and brushed steel: cold grays with hard highlights."""
    return _metal(rng, size, [(0.08, 0.09, 0.1), (0.38, 0.4, 0.43), (0.7, 0.72, 0.75), (0.55, 0.57, 0.6), (1, 1, 1)])


def copper(rng: Generator, size: int) -> Array:
    """Hammered or brushed copper, reddish brown to rose, with green verdigris at times."""
    colors = [(0.2, 0.06, 0.03), (0.55, 0.24, 0.12), (0.8, 0.44, 0.27), (0.95, 0.66, 0.5), (1, 0.88, 0.78)]
    image = _metal(rng, size, colors)
    if rng.random() < 0.5:
        patina = np.clip((fbm(rng, size, 4, 1.4) - rng.uniform(0.55, 0.8)) * 6, 0, 0.9)[..., None]
        image = image * (1 - patina) + patina * jitter(rng, (0.35, 0.66, 0.57), 0.04)
    return unit(image)


def rust(rng: Generator, size: int) -> Array:
    """Corroded iron: blotches of orange and brown on gray-blue paint, with pits and runs."""
    blotch = 0.75 * fbm(rng, size, 3, 1.5) + 0.25 * fbm(rng, size, 12, 0.9, (4, 1))
    scale = fbm(rng, size, 22, 0.7)
    oxide = ramp(
        0.5 * blotch + 0.5 * scale,
        palette(rng, [(0.16, 0.06, 0.03), (0.45, 0.18, 0.06), (0.72, 0.35, 0.12), (0.85, 0.55, 0.3)], 0.03),
    )
    paint = jitter(rng, (0.42, 0.5, 0.52), 0.08) * (0.7 + 0.4 * scale[..., None])
    share = np.clip((blotch - rng.uniform(0.05, 0.4)) * 12, 0, 1)[..., None]
    return unit(oxide * share + paint * (1 - share))


def broken_glass(rng: Generator, size: int) -> Array:
    """Shattered glass: straight cracks running out from an impact, bright splinters over dark blue-gray."""
    y, x = axes(size)
    cy, cx = rng.uniform(0.2, 0.8, 2)
    r, angle = np.hypot(y - cy, x - cx), np.arctan2(y - cy, x - cx)
    rays = np.sort(rng.uniform(-np.pi, np.pi, int(rng.integers(12, 26))))
    sector = np.searchsorted(rays, angle)
    gap = np.abs(angle[..., None] - rays).min(-1) * r * size
    rings = (np.log(r + 0.02) * rng.uniform(2.5, 4) + rng.random(len(rays) + 1)[sector]) % 1
    ring_gap = np.minimum(rings, 1 - rings) * (r + 0.02) * size / 3
    cracks = np.maximum(np.exp(-gap / 0.8), 0.85 * np.exp(-ring_gap / 0.7))
    shard = rng.uniform(-0.2, 0.2, 4096)[(sector * 61 + (np.log(r + 0.02) * 4).astype(int) * 7) % 4096]
    body = ramp(
        np.clip(0.45 + shard + 0.4 * (fbm(rng, size, 1.5, 2.2) - 0.5), 0, 1),
        palette(rng, [(0.1, 0.14, 0.18), (0.38, 0.46, 0.52), (0.75, 0.83, 0.87)], 0.03),
    )
    return unit(body + cracks[..., None] * np.array([0.85, 0.95, 0.97]))


def crystal(rng: Generator, size: int) -> Array:
    """Cut crystals: bright flat facets of one jewel color with sharp highlights and deep shadows."""
    cells = voronoi(rng, int(rng.integers(18, 90)), size)
    count = len(cells.seeds)
    y, x = np.mgrid[:size, :size]
    turn = rng.uniform(0, 2 * np.pi, count)[cells.owner]
    center = cells.seeds[cells.owner]
    slope = ((y - center[..., 0]) * np.sin(turn) + (x - center[..., 1]) * np.cos(turn)) * count**0.5 / size
    light = np.clip(rng.uniform(0.1, 0.9, count)[cells.owner] + 0.45 * slope, 0, 1) ** 1.2
    hue = rng.choice([0.78, 0.52, 0.38, 0.92, 0.6, 0.13]) + rng.normal(0, 0.025, count)[cells.owner]
    image = hsv(hue, np.clip(1.0 - light**2, 0.12, 0.9), 0.15 + 0.85 * light)
    glint = np.exp(-cells.border / 0.7) * (0.35 + 0.65 * (rng.random(count) > 0.4)[cells.owner])
    return unit(image + 0.6 * glint[..., None])


def concrete(rng: Generator, size: int) -> Array:
    """Gray cast concrete: fine grain, stains, air holes, a hairline crack or a joint."""
    stain, grain = fbm(rng, size, 2, 1.9), fbm(rng, size, 26, 0.5)
    tone = rng.uniform(0.5, 0.68) + 0.22 * (stain - 0.5) + 0.2 * (grain - 0.5)
    holes = np.clip((fbm(rng, size, 18, 1.2) - 0.9) * 12, 0, 1)
    crack = np.exp(-np.abs(2 * fbm(rng, size, 2, 1.6) - 1) * 60) * (rng.random() < 0.6)
    joint = np.abs(axes(size)[rng.integers(2)] - rng.uniform(0.2, 0.8)) * size < 1.2
    tone = tone * (1 - 0.5 * holes) * (1 - 0.6 * crack) * (1 - 0.45 * joint * (rng.random() < 0.4))
    return unit(tone[..., None] * jitter(rng, (1, 0.99, 0.96), 0.015))


def crumpled_paper(rng: Generator, size: int) -> Array:
    """White, cream or kraft paper, crumpled and smoothed out; a third of it was never crumpled."""
    shade = _creases(rng, size) if rng.random() < 0.67 else _sheet(rng, size)
    paper = jitter(rng, _PAPERS[rng.integers(len(_PAPERS))], 0.02)
    grain = 0.04 * (fbm(rng, size, 30, 0.4) - 0.5)
    return unit(paper * (0.88 + shade + grain)[..., None])


_PAPERS = ((0.93, 0.92, 0.9), (0.93, 0.92, 0.9), (0.92, 0.87, 0.76), (0.74, 0.6, 0.43))


def _sheet(rng: Generator, size: int) -> Array:
    """Shade of a plain sheet: the tooth of its surface, fibres or laid lines, a little age."""
    tooth = fbm(rng, size, rng.uniform(12, 40), rng.uniform(0.4, 1.2))
    relief = (tooth - np.roll(tooth, (1, 1), (0, 1))) * rng.uniform(0.03, 0.22)
    fibres = (fbm(rng, size, 10, 0.8, (rng.uniform(4, 14), 1)) - 0.5) * rng.uniform(0, 0.06)
    age = (fbm(rng, size, 2, 1.8) - 0.5) * rng.uniform(0, 0.15)
    return np.asarray(relief + (fibres if rng.random() < 0.5 else fibres.T) + age, np.float32)


def _creases(rng: Generator, size: int) -> Array:
    """Shade of crumpled paper: flat facets meeting in sharp creases."""
    shade = np.zeros((size, size), np.float32)
    for count in (6, 20, 60):
        cells = voronoi(rng, int(count * rng.uniform(0.7, 1.4)), size)
        tilt = rng.normal(0, 1, (len(cells.seeds), 2))[cells.owner]
        y, x = np.mgrid[:size, :size]
        slope = (y - cells.seeds[cells.owner][..., 0]) * tilt[..., 0] + (x - cells.seeds[cells.owner][..., 1]) * tilt[
            ..., 1
        ]
        shade += slope * count**0.5 / size * 0.09 + 0.1 * np.exp(-cells.border / 1.1)
    return shade
