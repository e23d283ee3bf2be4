"""Textures of what grows or lies on the ground: leaves, flowers, coral, bark, pebbles. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from training.pocket.generators.noise import Array, fbm, hsv, jitter, line_noise, palette, ramp, unit, voronoi


def autumn(rng: Generator, size: int) -> Array:
    """Fallen leaves in red, orange, yellow and brown, one over the other."""
    return _foliage(rng, size, (0.0, 0.14), (0.65, 1.0), (0.35, 0.98))


def green_leaves(rng: Generator, size: int) -> Array:
    """Dense green foliage, leaf over leaf, dark between."""
    return _foliage(rng, size, (0.22, 0.38), (0.55, 0.95), (0.25, 0.85))


def _foliage(
    rng: Generator, size: int, hues: tuple[float, float], saturations: tuple[float, float], values: tuple[float, float]
) -> Array:
    """Leaves of random colors from three ranges, later ones on top, each with a rib, side veins and a shadow."""
    ground = hsv(np.mean(hues), 0.8, 0.12)
    image = np.ones((size, size, 3), np.float32) * np.asarray(ground, np.float32)
    length = rng.uniform(0.12, 0.34) * size
    slender = rng.uniform(1.5, 3.2)
    for _ in range(int(4.2 * slender * (size / length) ** 2)):
        color = hsv(rng.uniform(*hues), rng.uniform(*saturations), rng.uniform(*values))
        _leaf(rng, image, color, length * rng.uniform(0.6, 1.2), slender * rng.uniform(0.8, 1.2))
    return unit(image * (0.85 + 0.3 * fbm(rng, size, 3, 1.8))[..., None])


def _leaf(rng: Generator, image: Array, color: Array, length: float, slender: float) -> None:
    """Paint one leaf into an image: a lens of a length in pixels, `slender` times as long as wide."""
    size = len(image)
    cy, cx, turn = *rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
    reach = length / 2 + 2
    rows = slice(max(0, int(cy - reach)), min(size, int(cy + reach) + 1))
    columns = slice(max(0, int(cx - reach)), min(size, int(cx + reach) + 1))
    y, x = np.mgrid[rows, columns]
    along = ((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)) * 2 / length
    across = ((y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)) * 2 * slender / length
    outline = 1 - np.clip(along, -1, 1) ** 2
    inside = np.clip((outline - np.abs(across)) * length / (2 * slender) + 0.5, 0, 1) * (np.abs(along) < 1)
    shadow = np.clip((outline - np.abs(across - 0.25)) * 2 + 0.6, 0, 1) * (np.abs(along) < 1)
    veins = 0.3 * np.exp(-np.abs(across) * length / 3 / slender) + 0.12 * (
        np.sin((along - 0.5 * np.abs(across)) * length * 0.7) > 0.6
    )
    tone = (0.8 + 0.25 * across) * (1 + rng.choice([-1, 1]) * veins)
    part = image[rows, columns]
    part *= 1 - 0.45 * (shadow * (1 - inside))[..., None]
    part += (color * tone[..., None] - part) * inside[..., None]


def flowers(rng: Generator, size: int) -> Array:
    """Blossoms of pink, white, yellow, red and violet petals scattered over green."""
    image = green_leaves(rng, size) * rng.uniform(0.6, 0.9)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    hues: ArrayLike = rng.choice([0.93, 0.0, 0.14, 0.78, 0.88, 0.6], int(rng.integers(1, 4)))
    for _ in range(rng.integers(12, 45)):
        cy, cx, radius = *rng.uniform(0, size, 2), rng.uniform(0.04, 0.13) * size
        turn, petals = rng.uniform(0, 6.3), rng.integers(5, 9)
        r, angle = np.hypot(y - cy, x - cx) / radius, np.arctan2(y - cy, x - cx)
        outline = 0.65 + 0.35 * np.abs(np.cos(petals * (angle + turn) / 2))
        petal = np.clip((outline - r) * radius * 0.6, 0, 1)[..., None]
        color = hsv(rng.choice(hues) + rng.normal(0, 0.015), rng.choice([0.1, 0.5, 0.85]), rng.uniform(0.85, 1))
        shaded = color * (0.62 + 0.38 * r + 0.1 * np.cos(petals * (angle + turn)))[..., None].clip(0.4, 1.1)
        heart = np.clip((0.24 - r) * radius, 0, 1)[..., None]
        image = image * (1 - petal) + shaded * petal
        image = image * (1 - heart) + heart * jitter(rng, (0.9, 0.7, 0.15), 0.05)
    return unit(image)


def coral(rng: Generator, size: int) -> Array:
    """Branching, knobbly coral in orange, pink and violet over deep blue water."""
    maze = fbm(rng, size, rng.uniform(5, 9), 3.0)
    branch = np.clip(1 - np.abs(2 * maze - 1) * rng.uniform(2.0, 3.2), 0, 1)
    knobs = voronoi(rng, int(rng.integers(300, 700)), size, 0.4)
    polyp = np.exp(-knobs.nearest / (0.32 * size / len(knobs.seeds) ** 0.5))
    body = hsv(rng.choice([0.03, 0.95, 0.9, 0.08]) + 0.08 * (fbm(rng, size, 2, 2) - 0.5), 0.68, 1.0)
    image = body * (0.35 + 0.45 * branch + 0.4 * polyp)[..., None]
    deep = jitter(rng, (0.02, 0.16, 0.3), 0.03) * (0.5 + fbm(rng, size, 3, 1.8))[..., None]
    share = np.clip(branch * 4, 0, 1)[..., None]
    return unit(image * share + deep * (1 - share))


def bark(rng: Generator, size: int) -> Array:
    """Tree bark: long rough ridges parted by deep vertical furrows."""
    bend = (fbm(rng, size, 2, 2.3) - 0.5) * rng.uniform(0.1, 0.3)
    x = np.linspace(0, 1, size, dtype=np.float32)[None] + bend
    ridges = np.abs(2 * ((x * rng.uniform(5, 11) + 0.6 * fbm(rng, size, 3, 2.0, (3, 1))) % 1) - 1)
    plates = np.clip((fbm(rng, size, 8, 1.8, (1, 2.5)) - 0.12) * 6, 0.3, 1)
    rough = fbm(rng, size, 16, 0.8, (3, 1))
    tone = np.clip((0.25 + 0.75 * (1 - ridges**2)) * plates * (0.55 + 0.75 * rough), 0, 1)
    return ramp(tone, palette(rng, [(0.07, 0.05, 0.03), (0.27, 0.2, 0.14), (0.48, 0.39, 0.3), (0.68, 0.6, 0.5)], 0.02))


def pebbles(rng: Generator, size: int) -> Array:
    """Smooth rounded pebbles of many tones, each lit from above, dark between."""
    cells = voronoi(rng, int(rng.integers(60, 260)), size, rng.uniform(0.3, 0.6))
    count = len(cells.seeds)
    reach = 0.62 * size / count**0.5
    dome = np.sqrt(np.clip(1 - (cells.nearest / reach) ** 2, 0, 1))
    y, x = np.mgrid[:size, :size]
    lit = np.clip(((cells.seeds[cells.owner][..., 0] - y) + (cells.seeds[cells.owner][..., 1] - x)) / reach, -1, 1)
    tone = rng.uniform(0.3, 0.95, count)[cells.owner]
    tint = hsv(rng.choice([0.07, 0.09, 0.55, 0.03], count), rng.uniform(0, 0.25, count), 1.0)[cells.owner]
    shade = tone * np.clip(0.3 + 0.6 * dome + 0.25 * lit, 0, 1) * np.clip(cells.border / 1.5, 0.1, 1)
    speckle = 0.1 * (line_noise(rng, size, np.zeros((size, size), np.float32), 1, 0.6) - 0.5)
    return unit(tint * (shade + speckle)[..., None])
