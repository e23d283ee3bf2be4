"""Textures of cloth, hide and woven things: wool, lace, leather, fur, scales. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from training.pocket.generators.noise import (
    Array,
    blur,
    fbm,
    hsv,
    jitter,
    line_noise,
    palette,
    ramp,
    turned_axes,
    unit,
    voronoi,
)


def wool(rng: Generator, size: int) -> Array:
    """Knitted rows of V-shaped stitches, or the curls of a fleece: mostly undyed, off-white to gray."""
    light = _knitted(rng, size) if rng.random() < 0.6 else _fleece(rng, size)
    undyed = [(0.95, 0.93, 0.88), (0.9, 0.86, 0.78), (0.93, 0.93, 0.94), (0.72, 0.68, 0.63)]
    dyed = [(0.75, 0.2, 0.2), (0.3, 0.45, 0.65), (0.45, 0.55, 0.35), (0.85, 0.6, 0.3)]
    color = jitter(rng, (undyed if rng.random() < 0.65 else dyed)[rng.integers(4)], 0.04)
    return unit(color * (0.25 + 0.85 * light)[..., None])


def _knitted(rng: Generator, size: int) -> Array:
    """Light on columns of V-shaped stitches."""
    pitch = rng.uniform(8, 20)
    y, x = turned_axes(rng, size, 0.25)
    y, x = y * size + 3 * (fbm(rng, size, 3, 2.0) - 0.5), x * size
    side = np.abs((x / pitch) % 1 - 0.5) * 2
    phase = (y / pitch * 1.25 - side * 0.9) % 1
    yarn = np.abs(np.sin(np.pi * phase)) ** 0.7 * (0.45 + 0.55 * np.sin(np.pi * np.clip(side, 0.05, 0.95)) ** 0.5)
    fuzz = line_noise(rng, size, np.full((size, size), 1.2, np.float32), 5, 0.5)
    return np.asarray(blur(yarn.astype(np.float32), 0.6) + 0.25 * (fuzz - 0.5), np.float32)


def _fleece(rng: Generator, size: int) -> Array:
    """Light on crimped locks that curl into each other."""
    flow = rng.uniform(2, 4) * np.pi * fbm(rng, size, rng.uniform(2, 5), 3.0)
    fibres = line_noise(rng, size, flow.astype(np.float32), int(rng.integers(9, 15)), rng.uniform(0.9, 1.6))
    locks = fbm(rng, size, rng.uniform(3, 7), 2.2)
    return np.asarray(0.2 + 0.5 * fibres + 0.35 * locks, np.float32)


def lace(rng: Generator, size: int) -> Array:
    """White openwork: rings, petals and fine threads on a dark ground."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    pitch = rng.uniform(18, 44)
    u = (x + (np.floor(y / pitch) % 2) * pitch / 2) % pitch / pitch - 0.5
    v = y % pitch / pitch - 0.5
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    petals = int(rng.integers(5, 10))
    rings = np.maximum(np.exp(-(((r - 0.45) / 0.035) ** 2)), np.exp(-(((r - 0.12) / 0.04) ** 2)))
    rose = np.exp(-(((r - 0.2 - 0.13 * np.abs(np.cos(petals * angle / 2))) / 0.035) ** 2))
    mesh_step = pitch / rng.integers(5, 9)
    mesh = np.maximum(np.cos((x + y) * 2 * np.pi / mesh_step), np.cos((x - y) * 2 * np.pi / mesh_step)) > 0.86
    thread = np.clip(np.maximum(np.maximum(rings, rose), 0.75 * mesh * (r > 0.42)), 0, 1)
    thread = blur(thread, 0.5) * (0.8 + 0.3 * fbm(rng, size, 28, 0.5))
    ground = jitter(rng, [(0.1, 0.08, 0.1), (0.35, 0.1, 0.15), (0.2, 0.22, 0.3)][rng.integers(3)], 0.05)
    return unit(ground * (1 - thread[..., None]) + thread[..., None] * jitter(rng, (0.97, 0.95, 0.91), 0.02))


def leather(rng: Generator, size: int) -> Array:
    """Tanned hide: fine pebbled grain, creases, a soft shine; brown, black or oxblood."""
    cells = voronoi(rng, int(rng.integers(500, 1600)), size, 0.3)
    grain = np.clip(cells.border / rng.uniform(1.2, 2.2), 0, 1)
    creases = np.exp(-np.abs(2 * fbm(rng, size, 3, 1.7) - 1) * 16) * rng.uniform(0.2, 0.6)
    shine = fbm(rng, size, 2, 2.3)
    color = jitter(
        rng, [(0.42, 0.23, 0.12), (0.3, 0.14, 0.07), (0.16, 0.12, 0.11), (0.38, 0.1, 0.08)][rng.integers(4)], 0.03
    )
    tone = (0.35 + 0.5 * grain) * (0.7 + 0.7 * shine) * (1 - creases)
    return unit(color * 1.35 * tone[..., None] + 0.12 * (np.clip(shine - 0.7, 0, 1) * grain)[..., None])


def denim(rng: Generator, size: int) -> Array:
    """Blue jeans: diagonal twill of indigo and white threads, faded folds, an orange seam at times."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    pitch = rng.uniform(2.6, 5)
    twill = 0.5 + 0.5 * np.sin((x + y * rng.uniform(0.7, 1.2)) * 2 * np.pi / pitch)
    slub = fbm(rng, size, 22, 0.6, (rng.uniform(3, 8), 1))
    faded = fbm(rng, size, 2, 2.1)
    tone = np.clip(0.12 + 0.3 * twill + 0.32 * slub + 0.45 * (faded - 0.35), 0, 1)
    image = ramp(
        tone, palette(rng, [(0.05, 0.09, 0.2), (0.16, 0.27, 0.47), (0.42, 0.56, 0.74), (0.8, 0.86, 0.92)], 0.02)
    )
    if rng.random() < 0.4:
        seam, stitch = rng.integers(size // 5, size * 4 // 5), (y % 9) < 6
        image = np.where(((np.abs(x - seam) < 1.2) & stitch)[..., None], jitter(rng, (0.83, 0.52, 0.2), 0.03), image)
    return unit(image)


def silk(rng: Generator, size: int) -> Array:
    """Flowing satin: long smooth folds with bright, soft highlights in one rich color."""
    y, _ = turned_axes(rng, size)
    folds = np.sin((y * rng.uniform(2, 5) + rng.uniform(0.4, 1.2) * fbm(rng, size, 1.2, 3.0)) * 2 * np.pi)
    light = (0.5 + 0.5 * folds) ** rng.uniform(1.2, 2.4)
    hue, saturation = rng.random(), rng.uniform(0.45, 0.85)
    dark, mid, high = hsv(hue + np.array([0.02, 0, -0.02]), [saturation, saturation, 0.2], [0.25, 0.75, 1.0])
    sheen = line_noise(rng, size, np.full((size, size), 0.4, np.float32), 7, 0.5)
    return unit(
        ramp(light, [dark.tolist(), mid.tolist(), mid.tolist(), high.tolist()]) * (0.95 + 0.1 * sheen)[..., None]
    )


def basket_weave(rng: Generator, size: int) -> Array:
    """Wicker: flat straw-colored strips passing over and under each other."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    pitch = rng.uniform(9, 26)
    over = ((x // pitch).astype(int) + (y // pitch).astype(int)) % 2 == 0
    u, v = x % pitch / pitch - 0.5, y % pitch / pitch - 0.5
    bulge = np.where(over, np.cos(u * np.pi) * (0.55 + 0.45 * np.cos(v * 2 * np.pi * 0.45)), np.cos(v * np.pi) * 0.85)
    edge = np.where(over, np.abs(v), np.abs(u))
    fibre = np.where(over, fbm(rng, size, 20, 0.7, (1, 8)), fbm(rng, size, 20, 0.7, (8, 1)))
    tone = np.clip(bulge * (0.5 + 0.5 * fibre) * np.clip((0.5 - edge) * 12, 0.1, 1) + 0.12, 0, 1)
    return ramp(
        tone, palette(rng, [(0.16, 0.09, 0.04), (0.48, 0.33, 0.16), (0.75, 0.58, 0.34), (0.93, 0.82, 0.6)], 0.03)
    )


def fur(rng: Generator, size: int) -> Array:
    """Long soft hair combed in waves: brown, gray, white or ginger."""
    flow = rng.uniform(0, np.pi) + rng.uniform(0.5, 1.8) * fbm(rng, size, 2, 2.3)
    coarse = line_noise(rng, size, flow.astype(np.float32), 15, 1.0)
    fine = line_noise(rng, size, flow.astype(np.float32), 9, 0.45)
    tone = np.clip(0.5 * coarse + 0.4 * fine + 0.35 * (fbm(rng, size, 3, 1.9) - 0.4), 0, 1)
    colors = [
        [(0.1, 0.06, 0.03), (0.4, 0.27, 0.16), (0.75, 0.6, 0.43)],
        [(0.12, 0.12, 0.12), (0.45, 0.44, 0.43), (0.85, 0.84, 0.82)],
        [(0.5, 0.47, 0.43), (0.82, 0.8, 0.76), (0.99, 0.98, 0.96)],
        [(0.28, 0.12, 0.03), (0.68, 0.38, 0.14), (0.95, 0.75, 0.48)],
    ][rng.integers(4)]
    return ramp(tone, palette(rng, colors, 0.02))


def feathers(rng: Generator, size: int) -> Array:
    """Rows of overlapping plumes with a shaft and fine slanting barbs."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    width = rng.uniform(18, 40)
    height = width * rng.uniform(0.7, 1.1)
    image = np.zeros((size, size, 3), np.float32)
    hue, saturation = rng.choice([0.08, 0.58, 0.33, 0.5, 0.95]), rng.choice([0.1, 0.35, 0.8])
    for row in range(int(size / height) + 3, -2, -1):
        u = (x + (row % 2) * width / 2) % width / width - 0.5
        v = (y - row * height) / (2.2 * height)
        inside = (v > -0.05) & (v < 0.95 - 2.2 * u**2)
        barbs = 0.5 + 0.5 * np.sin((v * 2.2 * height + np.abs(u) * width * 1.2) * 2 * np.pi / 3.4)
        shaft = np.exp(-np.abs(u) * width / 1.2)
        tone = (0.45 + 0.3 * barbs + 0.4 * shaft) * np.clip(1.25 - 0.75 * v, 0.35, 1)
        color = hsv(hue + 0.05 * np.sin(row * 2.4), saturation, np.clip(tone, 0, 1))
        rim = np.clip((0.95 - 2.2 * u**2 - v) * 14, 0.25, 1)[..., None]
        image = np.where(inside[..., None], color * rim, image)
    return unit(image)


def scales(rng: Generator, size: int) -> Array:
    """Overlapping rounded scales of a fish or a reptile, each dark at its rim and bright in its middle."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    width = rng.uniform(10, 26)
    height = width * rng.uniform(0.45, 0.65)
    y, x = y + 3 * (fbm(rng, size, 2, 2) - 0.5), x + 3 * (fbm(rng, size, 2, 2) - 0.5)
    depth = np.full((size, size), 9.0, np.float32)
    for shift in (0, 1):
        row = np.floor(y / height) - shift
        u = (x + (row % 2) * width / 2) % width / width - 0.5
        r = np.hypot(u * width, y - row * height) / (width * 0.56)
        depth = np.where((depth > 1) & (r <= 1), r, depth)
    depth = np.clip(depth, 0, 1)
    hue = rng.choice([0.3, 0.4, 0.5, 0.58, 0.1]) + 0.12 * (fbm(rng, size, 2, 2) - 0.5)
    tone = (0.95 - 0.75 * depth**3) * (0.55 + 0.6 * fbm(rng, size, 3, 1.8)) + 0.25 * np.exp(-((depth / 0.3) ** 2))
    return unit(hsv(hue, rng.uniform(0.3, 0.75), np.clip(tone, 0, 1)))


def honeycomb(rng: Generator, size: int) -> Array:
    """Hexagonal wax cells: amber honey inside pale yellow walls."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    pitch, tall = rng.uniform(11, 28), np.sqrt(3.0)
    spots = []
    for shift in (0.0, 0.5):
        u = ((x / pitch + shift) % 1 - 0.5) * 1.0
        v = ((y / pitch / tall + shift) % 1 - 0.5) * tall
        spots.append((u, v))
    (u, v), (p, q) = spots
    nearer = np.hypot(u, v) < np.hypot(p, q)
    u, v = np.abs(np.where(nearer, u, p)), np.abs(np.where(nearer, v, q))
    wall = 0.5 - np.maximum(u, u / 2 + v * tall / 2)
    mask = np.clip((wall - rng.uniform(0.05, 0.09)) * pitch, 0, 1)[..., None]
    honey = ramp(
        np.clip(0.2 + 0.5 * fbm(rng, size, 3, 1.7) + 0.9 * wall, 0, 1),
        palette(rng, [(0.4, 0.17, 0.01), (0.8, 0.42, 0.03), (0.98, 0.7, 0.16)], 0.02),
    )
    wax = jitter(rng, (0.93, 0.78, 0.42), 0.02) * (0.8 + 0.3 * fbm(rng, size, 20, 0.6))[..., None]
    return unit(honey * mask + wax * (1 - mask))


def cork(rng: Generator, size: int) -> Array:
    """Pressed cork: small tan grains of differing tone with dark specks."""
    cells = voronoi(rng, int(rng.integers(350, 1100)), size)
    tone = 0.35 + 0.4 * rng.random(len(cells.seeds))[cells.owner] + 0.3 * (fbm(rng, size, 20, 0.7) - 0.5)
    image = ramp(np.clip(tone, 0, 1), palette(rng, [(0.4, 0.25, 0.13), (0.72, 0.52, 0.32), (0.88, 0.71, 0.5)], 0.02))
    specks = np.clip((fbm(rng, size, 24, 0.8) - 0.86) * 9, 0, 1)[..., None]
    return unit(image * np.clip(cells.border + 0.5, 0.55, 1)[..., None] * (1 - 0.75 * specks))
