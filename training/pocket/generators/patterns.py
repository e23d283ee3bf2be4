"""Patterns laid over a photo: tesserae, leaded glass, dots, pixels, facets, tubes of light. See `noise` for types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy.spatial import Delaunay

from training.pocket.generators.noise import (
    Array,
    blur,
    cell_means,
    edges,
    fbm,
    hsv,
    luminance,
    stretch_to_unit,
    unit,
    vivid,
    voronoi,
)


def mosaic(rng: Generator, photo: Array) -> Array:
    """Small tiles of one color each, slightly uneven, in light or dark grout."""
    size = len(photo)
    cells = voronoi(rng, int(rng.integers(9, 22)) ** 2, size, rng.uniform(0.6, 0.95))
    colors = vivid(cell_means(photo, cells), rng.uniform(1.2, 1.9)) * rng.uniform(0.75, 1.2, (len(cells.seeds), 1))
    tiles = colors[cells.owner] * (0.92 + 0.12 * fbm(rng, size, 10, 1))[..., None]
    grout = rng.choice([0.08, 0.2, 0.85])
    mask = np.clip(cells.border - rng.uniform(0.2, 0.7), 0, 1)[..., None]
    return unit(tiles * mask + grout * (1 - mask))


def stained_glass(rng: Generator, photo: Array) -> Array:
    """Glowing saturated panes parted by thick black leading."""
    size = len(photo)
    cells = voronoi(rng, int(rng.integers(14, 90)), size, rng.uniform(0, 0.4))
    count = len(cells.seeds)
    free = hsv(
        rng.choice([0.0, 0.08, 0.14, 0.33, 0.55, 0.63, 0.78, 0.92], count) + rng.normal(0, 0.02, count),
        0.9,
        rng.uniform(0.5, 1, count),
    )
    share = rng.choice([0.0, 0.45, 0.8])
    colors = share * vivid(cell_means(photo, cells), 2.5) + (1 - share) * free
    light = 0.7 + 0.5 * fbm(rng, size, 4, 1.5)
    light = light * (0.65 + 0.6 * stretch_to_unit(luminance(photo))) if rng.random() < 0.5 else light
    lead = np.clip((cells.border - rng.uniform(0.8, 1.9)) / 0.9, 0, 1)
    if rng.random() < 0.5:
        lead = lead * (1 - np.clip(edges(photo, 1.2) * 2 - 0.9, 0, 1))
    return unit(vivid(colors[cells.owner], 1.3) * (light * lead)[..., None] + 0.02)


def neon(rng: Generator, photo: Array) -> Array:
    """Glowing tubes of pink, cyan and violet light along the photo's outlines, in the dark."""
    size = len(photo)
    lines = np.clip(edges(photo, rng.uniform(1.0, 2.0)) * 1.7 - 0.5, 0, 1)
    hue = rng.choice([0.5, 0.85, 0.92, 0.75, 0.33, 0.6]) + rng.uniform(0.1, 0.6) * (fbm(rng, size, 2, 2.2) - 0.5)
    color = hsv(hue, 0.92, 1.0)
    halo = 1.6 * blur(lines, 2.0) + 1.2 * blur(lines, 6.0)
    night = np.array([0.03, 0.01, 0.07], np.float32) + 0.06 * photo
    return unit(night + color * (halo + 0.6 * lines)[..., None] + (lines**3)[..., None] * 0.6).astype(np.float32)


def pop_art(rng: Generator, photo: Array) -> Array:
    """Halftone dots in two or three flat loud colors with black outlines."""
    size = len(photo)
    y, x = np.mgrid[:size, :size]
    pitch, angle = rng.uniform(4.5, 10), rng.uniform(0, 1.5)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    gray = stretch_to_unit(blur(luminance(photo), 1.5))
    dots = np.hypot(u % pitch - pitch / 2, v % pitch - pitch / 2) < (1 - gray) * pitch * 0.68
    hues = rng.permutation([0.0, 0.14, 0.52, 0.6, 0.9, 0.33])[:3]
    dot, light, dark = hsv(hues, [0.95, rng.choice([0.05, 0.7]), 0.9], [0.95, 1.0, 0.8])
    image = np.where(dots[..., None], dot, light)
    image = np.where((gray < 0.3)[..., None] & (rng.random() < 0.6), dark, image)
    return np.where((edges(photo, 1.3) > 0.75)[..., None], 0.03, image).astype(np.float32)


def pointillism(rng: Generator, photo: Array) -> Array:
    """Seurat's dots: small separate round touches of pure, varied color on light canvas."""
    size = len(photo)
    cells = voronoi(rng, int(rng.integers(20, 42)) ** 2, size, rng.uniform(0.4, 0.8))
    mean = cell_means(photo, cells)
    colors = np.clip(vivid(mean, 1.7) + rng.normal(0, 0.17, mean.shape), 0, 1)
    radius = 0.62 * size / len(cells.seeds) ** 0.5
    touch = np.clip((radius - cells.nearest) * 0.9, 0, 1)[..., None]
    return unit(colors[cells.owner] * touch + (0.55 + 0.4 * blur(photo, 4)) * (1 - touch))


def pixel_art(rng: Generator, photo: Array) -> Array:
    """Large square pixels in a small palette, loud or as the photo has it: the squares are what it is known by."""
    size = len(photo)
    block = int(rng.integers(5, 14))
    small = np.stack([blur(photo[..., i], block / 2.5) for i in range(3)], -1)[block // 2 :: block, block // 2 :: block]
    levels = rng.integers(2, 8)
    uneven = vivid(small, rng.uniform(0.9, 2.2)) + rng.normal(0, rng.uniform(0.04, 0.12), (*small.shape[:2], 1))
    few = np.clip(np.round(uneven * levels) / levels, 0, 1)
    return (
        few.repeat(block, 0).repeat(block, 1)[:size, :size].astype(np.float32)
        if len(few) * block >= size
        else _fill(few, block, size)
    )


def _fill(few: Array, block: int, size: int) -> Array:
    """Repeat blocks, mirroring the last ones, until the side is filled."""
    big = few.repeat(block, 0).repeat(block, 1)
    missing = size - len(big)
    return np.pad(big, ((0, missing), (0, missing), (0, 0)), mode="edge").astype(np.float32)


def low_poly(rng: Generator, photo: Array) -> Array:
    """A mesh of flat triangles, each of one color, meeting without seams."""
    size = len(photo)
    inner = rng.random((int(rng.integers(40, 160)), 2)) * size
    rim = np.linspace(-4, size + 4, 6)
    frame = np.array([(a, b) for a in rim for b in rim if a in rim[[0, -1]] or b in rim[[0, -1]]])
    mesh = Delaunay(np.concatenate([inner, frame]))
    owner = mesh.find_simplex(np.indices((size, size)).reshape(2, -1).T).clip(0)
    count = np.maximum(np.bincount(owner, minlength=len(mesh.simplices)), 1)
    sums = [np.bincount(owner, photo[..., i].ravel(), len(count)) for i in range(3)]
    colors = vivid(np.stack(sums, -1) / count[:, None], 1.8) * rng.uniform(0.5, 1.5, (len(count), 1))
    return unit(colors[owner].reshape(size, size, 3))


def glitch(rng: Generator, photo: Array) -> Array:
    """A broken video signal: channels pulled apart into color fringes, bands shifted sideways, scan lines."""
    size = len(photo)
    image = photo.copy()
    for _ in range(rng.integers(2, 9)):
        top, height = rng.integers(0, size), rng.integers(2, size // 6)
        image[top : top + height] = np.roll(image[top : top + height], rng.integers(-size // 6, size // 6), axis=1)
    shift = rng.integers(3, 9, 2) * rng.choice([-1, 1])
    split = np.stack([np.roll(image[..., 0], shift[0], 1), image[..., 1], np.roll(image[..., 2], -shift[1], 1)], -1)
    lines = 1 - rng.uniform(0, 0.3) * (np.arange(size) % 3 == 0)[:, None, None]
    return unit((split - 0.5) * rng.uniform(1.0, 1.4) + 0.5) * unit(lines)


def noise(rng: Generator, photo: Array) -> Array:
    """Random colored or gray static that drowns everything: what an optimizer hides in, and no style."""
    size = len(photo)
    grains = (
        rng.random((size, size, 3), np.float32)
        if rng.random() < 0.6
        else rng.random((size, size, 1), np.float32).repeat(3, 2)
    )
    grains = stretch_to_unit(np.stack([blur(grains[..., i], rng.uniform(0.3, 2.0)) for i in range(3)], -1))
    share = rng.uniform(0.45, 0.9)
    return unit(share * grains + (1 - share) * photo)


def haze(rng: Generator, photo: Array) -> Array:
    """Soft blobs of color without any texture: what a lazy optimizer paints, and no style."""
    size = len(photo)
    hue = rng.random() + rng.uniform(0.05, 0.5) * fbm(rng, size, 2, 2.6)
    blobs = hsv(hue, rng.uniform(0.3, 1), 0.2 + 0.8 * fbm(rng, size, 2, 2.4))
    share = rng.uniform(0.5, 1.0)
    return unit(share * blobs + (1 - share) * blur(photo, rng.uniform(3, 7)))
