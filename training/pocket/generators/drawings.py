"""Art media drawn by hand: charcoal, crayon, pastel, chalk, woodcut, acrylic, cartoon. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from training.pocket.generators.noise import (
    Array,
    blur,
    edges,
    fbm,
    flow_of,
    jitter,
    line_noise,
    luminance,
    stretch_to_unit,
    unit,
    vivid,
    warp,
)


def _flat(photo: Array, radius: int) -> Array:
    """A photo reduced to smooth areas with sharp borders (a median over squares)."""
    size = len(photo)
    small = ndimage.median_filter(photo[::2, ::2], (radius, radius, 1))
    return np.asarray(small.repeat(2, 0).repeat(2, 1)[:size, :size], np.float32)


def charcoal(rng: Generator, photo: Array) -> Array:
    """Broad smudged charcoal: deep soft blacks, rubbed grays, rough paper grain."""
    size = len(photo)
    gray = stretch_to_unit(blur(luminance(photo), rng.uniform(1.2, 2.5)))
    flow = np.full((size, size), rng.uniform(0.4, 1.3) * rng.choice([-1, 1]), np.float32)
    rub = line_noise(rng, size, flow, 15, 1.6)
    tooth = fbm(rng, size, 26, 0.4)
    dark = np.clip(1.15 - 1.35 * gray + 0.5 * (rub - 0.5), 0, 1) ** 1.2
    outline = blur(edges(photo, 1.8), 0.9) * rng.uniform(0.6, 1.0)
    mark = np.clip(np.maximum(dark, outline) * (0.65 + 0.7 * tooth), 0, 0.97)
    paper = rng.uniform(0.82, 0.95) - 0.06 * tooth
    return unit((paper * (1 - mark) + 0.04 * mark)[..., None] * jitter(rng, (1, 0.99, 0.97), 0.006))


def crayon(rng: Generator, photo: Array) -> Array:
    """Wax crayon: heavy broken strokes of few strong colors, paper showing through the gaps."""
    size = len(photo)
    levels = rng.integers(2, 4)
    colors = np.round(vivid(blur(photo, 2.0), rng.uniform(1.8, 2.8)) * levels) / levels
    angle = np.full((size, size), rng.uniform(0, np.pi), np.float32) + 0.5 * (fbm(rng, size, 2, 2) - 0.5)
    wobble = (fbm(rng, size, 6, 1.6) - 0.5) * 5
    bent = warp(colors, wobble, -wobble)
    strokes, tooth = line_noise(rng, size, angle, 13, 1.3), fbm(rng, size, 26, 0.3)
    cover = np.clip((0.65 * strokes + 0.45 * tooth - rng.uniform(0.18, 0.35)) * 6, 0, 1)[..., None]
    outline = np.clip(edges(photo, 1.6) * 1.5 - 0.5, 0, 1)[..., None] * (tooth > 0.25)[..., None]
    return unit((0.97 * (1 - cover) + bent * cover) * (1 - 0.75 * outline))


def pastel(rng: Generator, photo: Array) -> Array:
    """Soft chalk pastel: powdery light colors rubbed over tinted, grainy paper."""
    size = len(photo)
    soft = blur(vivid(photo, rng.uniform(1.2, 1.7)), rng.uniform(1, 2)) * 0.6 + 0.38
    flow = flow_of(photo, 5) + 0.8 * (fbm(rng, size, 3, 2) - 0.5)
    strokes, tooth = line_noise(rng, size, flow, 11, 1.2), fbm(rng, size, 28, 0.25)
    paper = jitter(rng, [(0.78, 0.72, 0.64), (0.65, 0.68, 0.72), (0.85, 0.8, 0.76)][rng.integers(3)], 0.03)
    cover = np.clip((0.55 * strokes + 0.6 * tooth - 0.22) * 3.2, 0, 1)[..., None]
    chalk = soft * (0.9 + 0.2 * strokes[..., None]) + 0.05 * (tooth[..., None] - 0.5)
    return unit(paper * (1 - cover) + chalk * cover)


def chalkboard(rng: Generator, photo: Array) -> Array:
    """White chalk lines and smears on a dark green or black board."""
    size = len(photo)
    tooth = fbm(rng, size, 28, 0.3)
    lines = np.clip(edges(photo, rng.uniform(0.8, 1.5)) * 1.7 - 0.4, 0, 1) * np.clip((tooth - 0.15) * 3, 0, 1)
    flow = np.full((size, size), rng.uniform(0.4, 1.2), np.float32)
    hatch = np.clip(line_noise(rng, size, flow, 11, 0.6) * 3 - 1.7, 0, 1) * np.clip(
        stretch_to_unit(luminance(photo)) * 1.8 - 0.9, 0, 1
    )
    smear = 0.16 * fbm(rng, size, 2, 1.9, (1, 2))
    board = jitter(rng, [(0.1, 0.2, 0.15), (0.09, 0.1, 0.1)][rng.integers(2)], 0.015)
    chalk = np.clip(lines + 0.6 * hatch * tooth * 1.6 + smear, 0, 0.95)[..., None]
    return unit(board * (1 - chalk) + chalk * np.array([0.95, 0.95, 0.92]))


def woodcut(rng: Generator, photo: Array) -> Array:
    """Bold black print: carved tapering gouges follow the shapes, no grays."""
    size = len(photo)
    gray = stretch_to_unit(blur(luminance(photo), 2.0))
    flow = flow_of(photo, 7) + 0.6 * (fbm(rng, size, 2, 2.2) - 0.5)
    gouges = line_noise(rng, size, flow, 17, rng.uniform(1.3, 2.0))
    light = np.clip((gray * 1.25 - 0.12 + 0.75 * (gouges - 0.5) - 0.42) * 9 + 0.5, 0, 1)
    light = light * (1 - np.clip(edges(photo, 1.8) * 2 - 0.9, 0, 1))
    paper = jitter(rng, [(0.95, 0.91, 0.82), (0.93, 0.93, 0.91), (0.88, 0.72, 0.52)][rng.integers(3)], 0.02)
    ink = jitter(rng, (0.06, 0.05, 0.05), 0.01) * (0.8 + 0.6 * fbm(rng, size, 20, 0.5))[..., None]
    return unit(light[..., None] * paper + (1 - light[..., None]) * ink)


def acrylic(rng: Generator, photo: Array) -> Array:
    """Flat opaque acrylic: large saturated patches with crisp borders and broad, dry brush marks."""
    size = len(photo)
    levels = rng.integers(2, 5)
    flat = _flat(photo, int(rng.integers(5, 9)))
    wobble = (fbm(rng, size, 5, 1.8) - 0.5) * rng.uniform(3, 8)
    patches = vivid(np.round(warp(flat, wobble, wobble[::-1]) * levels) / levels, rng.uniform(2.0, 3.0))
    flow = flow_of(photo, 8) + (fbm(rng, size, 2, 2.2) - 0.5)
    bristle = line_noise(rng, size, flow, 19, 0.8)
    return unit(patches * (0.78 + 0.42 * bristle[..., None]) + 0.03)


def cartoon(rng: Generator, photo: Array) -> Array:
    """A comic drawing: flat bright areas, two or three tones each, bold black outlines."""
    flat = _flat(photo, int(rng.integers(5, 8)))
    tone = luminance(flat)
    levels = int(rng.integers(3, 5))
    stepped = (np.floor(tone * levels) + 0.6) / levels
    colors = vivid(flat * (stepped / np.maximum(tone, 0.08))[..., None], rng.uniform(1.8, 2.8))
    outline = np.clip(edges(flat, rng.uniform(0.9, 1.5)) * 2.8 - 0.9, 0, 1)[..., None]
    return unit(np.clip(colors * 1.08, 0, 1) * (1 - outline) + 0.03 * outline)
