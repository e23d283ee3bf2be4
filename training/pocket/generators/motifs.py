"""Textures that repeat a motif: hides, prints, checks. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from training.pocket.generators.noise import Array, fbm, hsv, jitter, turned_axes, unit, voronoi


def _two_colors(rng: Generator) -> tuple[Array, Array]:
    """Colors of a print: one dark or vivid, the other light."""
    hue = rng.random()
    strong = hsv(hue, rng.uniform(0.5, 0.95), rng.uniform(0.25, 0.85))
    return strong, hsv(hue + rng.uniform(0.3, 0.7), rng.choice([0.02, 0.15, 0.4]), rng.uniform(0.9, 1))


def zebra(rng: Generator, size: int) -> Array:
    """Black and white stripes that bend, fork and taper."""
    y, _ = turned_axes(rng, size)
    bend = fbm(rng, size, rng.uniform(1, 2), 2.8)
    wave = np.sin((y * rng.uniform(5, 11) + bend * rng.uniform(0.6, 1.8)) * 2 * np.pi)
    fork = 1.5 * (fbm(rng, size, 4, 2.4) - 0.5)
    stripe = np.clip((wave + fork) * rng.uniform(3, 6) + 0.5, 0, 1)[..., None]
    hair = 0.1 * (fbm(rng, size, 22, 0.7) - 0.5)[..., None]
    return unit(stripe * jitter(rng, (0.96, 0.94, 0.9), 0.02) + (1 - stripe) * 0.06 + hair)


def leopard(rng: Generator, size: int) -> Array:
    """Broken dark rosettes on tawny fur."""
    cells = voronoi(rng, int(rng.integers(40, 150)), size, rng.uniform(0.4, 0.7))
    reach = size / len(cells.seeds) ** 0.5
    r = cells.nearest / reach + 0.35 * (fbm(rng, size, 7, 1.6) - 0.5)
    ring = np.clip((0.14 - np.abs(r - 0.32)) * reach * 0.7, 0, 1) * np.clip((fbm(rng, size, 6, 1.4) - 0.2) * 7, 0, 1)
    inside = np.clip((0.32 - r) * 8, 0, 1)[..., None]
    fur = jitter(rng, (0.86, 0.64, 0.34), 0.03) * (0.75 + 0.35 * fbm(rng, size, 18, 0.8))[..., None]
    fur = fur * (1 - 0.25 * inside)
    return unit(fur * (1 - ring[..., None]) + ring[..., None] * np.array([0.11, 0.07, 0.04]))


def stripes(rng: Generator, size: int) -> Array:
    """Straight parallel bands of two or three flat colors."""
    y, _ = turned_axes(rng, size)
    strong, light = _two_colors(rng)
    phase = y * rng.uniform(4, 16)
    band = np.clip((np.sin(phase * 2 * np.pi) + rng.uniform(-0.4, 0.4)) * 8 + 0.5, 0, 1)[..., None]
    third = ((phase.astype(int) % 2 == 0) * (rng.random() < 0.4))[..., None]
    image = band * strong + (1 - band) * light
    return unit(np.where(third > 0, band * hsv(rng.random(), 0.8, 0.8) + (1 - band) * light, image))


def polka_dots(rng: Generator, size: int) -> Array:
    """Evenly spaced round dots on a flat ground."""
    strong, light = _two_colors(rng)
    dot, ground = (strong, light) if rng.random() < 0.5 else (light, strong)
    y, x = (axis * size for axis in turned_axes(rng, size, 0.8))
    pitch = rng.uniform(10, 34)
    u, v = x % pitch - pitch / 2, (y + (np.floor(x / pitch) % 2) * pitch / 2) % pitch - pitch / 2
    mask = np.clip(pitch * rng.uniform(0.22, 0.36) - np.hypot(u, v) + 0.5, 0, 1)[..., None]
    return unit(mask * dot + (1 - mask) * ground)


def plaid(rng: Generator, size: int) -> Array:
    """Tartan: colored bands crossing, woven in twill."""
    sett = [
        jitter(rng, color, 0.05)
        for color in [
            [(0.7, 0.08, 0.1), (0.08, 0.25, 0.14), (0.05, 0.06, 0.2), (0.9, 0.8, 0.3)],
            [(0.1, 0.2, 0.45), (0.08, 0.3, 0.18), (0.03, 0.03, 0.05), (0.9, 0.9, 0.88)],
            [(0.8, 0.7, 0.5), (0.15, 0.13, 0.12), (0.7, 0.12, 0.12), (0.95, 0.93, 0.9)],
        ][rng.integers(3)]
    ]
    widths = np.array([5, 4, 3, 0.7]) * rng.uniform(1.2, 3.2)
    order = [0, 1, 2, 3, 2, 1]
    ends = np.cumsum(widths[order])
    bands = np.asarray(sett)[np.asarray(order)[np.searchsorted(ends, np.arange(size) % ends[-1] * 0.999)]]
    y, x = np.mgrid[:size, :size]
    twill = (((x + y) // 2) % 2 == 0)[..., None]
    image = np.where(
        twill, np.broadcast_to(bands[:, None], (size, size, 3)), np.broadcast_to(bands[None], (size, size, 3))
    )
    soft = 0.5 * image + 0.25 * (bands[:, None] + bands[None])
    return unit(soft * (0.9 + 0.2 * fbm(rng, size, 24, 0.6))[..., None])


def checkerboard(rng: Generator, size: int) -> Array:
    """Alternating squares, black and white or two colors."""
    dark, light = (np.full(3, 0.06), np.full(3, 0.95)) if rng.random() < 0.6 else _two_colors(rng)
    y, x = turned_axes(rng, size, 0.5)
    count = rng.uniform(4, 14)
    even = ((np.floor(y * count) + np.floor(x * count)) % 2)[..., None]
    wear = 0.85 + 0.2 * fbm(rng, size, 5, 1.4)[..., None]
    return unit((even * dark + (1 - even) * light) * wear)


def camouflage(rng: Generator, size: int) -> Array:
    """Flat interlocking blotches of olive, brown, khaki and black."""
    colors = [
        [(0.55, 0.52, 0.36), (0.3, 0.36, 0.18), (0.32, 0.23, 0.14), (0.08, 0.09, 0.07)],
        [(0.76, 0.69, 0.52), (0.58, 0.47, 0.32), (0.4, 0.34, 0.24), (0.25, 0.2, 0.15)],
    ][int(rng.random() < 0.25)]
    image = np.broadcast_to(jitter(rng, colors[0], 0.02), (size, size, 3))
    base = rng.uniform(2, 5)
    for color in colors[1:]:
        image = np.where(
            (fbm(rng, size, base, 2.4) > rng.uniform(0.58, 0.72))[..., None], jitter(rng, color, 0.02), image
        )
    return unit(image * (0.94 + 0.1 * fbm(rng, size, 26, 0.5))[..., None])


def circuit_board(rng: Generator, size: int) -> Array:
    """Green boards: light traces in right and half-right angles, round golden pads, black chips."""
    step = int(rng.integers(5, 10))
    image = np.ones((size, size, 3)) * jitter(rng, (0.02, 0.27, 0.14), 0.02)
    trace, pad = jitter(rng, (0.15, 0.52, 0.28), 0.03), jitter(rng, (0.87, 0.74, 0.36), 0.03)
    y, x = np.mgrid[:size, :size]
    moves = [(0, 1), (1, 0), (1, 1), (1, -1)]
    for _ in range(int(3.2 * size / step)):
        row, column = rng.integers(0, size // step + 1, 2) * step
        first = (row, column)
        for _ in range(rng.integers(1, 4)):
            dy, dx = moves[rng.integers(4)]
            for _ in range(int(rng.integers(1, 5)) * step):
                row, column = row + dy, column + dx
                if 0 <= row < size - 1 and 0 <= column < size - 1:
                    image[row : row + 2, column : column + 2] = trace
        for py, px in (first, (row, column)):
            r = np.hypot(
                y[max(0, py - 4) : py + 4, max(0, px - 4) : px + 4] - py,
                x[max(0, py - 4) : py + 4, max(0, px - 4) : px + 4] - px,
            )
            part = image[max(0, py - 4) : py + 4, max(0, px - 4) : px + 4]
            part[(r < step * 0.38) & (r > step * 0.14)] = pad
    for _ in range(rng.integers(0, 4)):
        top, left = rng.integers(0, size, 2)
        tall, wide = rng.integers(2, 5, 2) * step
        image[top : top + tall, left : left + wide] = 0.08 + 0.04 * rng.random()
    return unit(image)
