"""Art media: each turns a photo (size, size, 3) into a drawing, a painting or a print. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from training.pocket.generators.noise import (
    Array,
    axes,
    blur,
    edges,
    fbm,
    flow_of,
    hsv,
    jitter,
    line_noise,
    luminance,
    ramp,
    stretch_to_unit,
    unit,
    voronoi,
    warp,
)


def _pencil_tone(rng: Generator, photo: Array) -> Array:
    """Paper brightness of a pencil drawing, 0 to 1: dodged outlines, hatching in the shadows, paper grain."""
    size = len(photo)
    gray = stretch_to_unit(luminance(photo))
    outline = np.clip(gray / (blur(gray, rng.uniform(1.5, 4)) + 0.02), 0, 1) ** rng.uniform(2, 5)
    pressure = 0.55 + 0.45 * fbm(rng, size, 8, 1.0)
    outline = outline * (1 - rng.uniform(0.3, 0.9) * pressure * edges(photo, rng.uniform(0.6, 1.1)) ** 1.5)
    angle = rng.uniform(0.3, 1.2) * rng.choice([-1, 1])
    strokes = line_noise(rng, size, np.full((size, size), angle, np.float32), 11, 0.5)
    dark = np.clip(1.05 - 1.7 * blur(gray, 1.5), 0, 1) * rng.uniform(0.3, 0.9)
    grain = 0.12 * rng.uniform(0.3, 1) * (rng.random((size, size), np.float32) - 0.5)
    hatching = dark * np.clip(3 * strokes - rng.uniform(0.9, 1.6), 0, 1)
    return np.maximum(unit(outline - 0.9 * hatching + grain), 0.05)


def sketch(rng: Generator, photo: Array) -> Array:
    """Black pencil or charcoal on white paper: no color at all, at most a breath of warm paper."""
    paper = np.array([1, 1 - rng.uniform(0, 0.02), 1 - rng.uniform(0, 0.05)], np.float32) * rng.uniform(0.92, 1)
    return (_pencil_tone(rng, photo)[..., None] * paper).astype(np.float32)


def colored_pencil(rng: Generator, photo: Array) -> Array:
    """Colored strokes on white paper; outlines tinted in one or several hues."""
    tone = _pencil_tone(rng, photo)[..., None]
    size = len(photo)
    if rng.random() < 0.5:
        hue = rng.random() + 0.5 * fbm(rng, size, 2, 2)
        ink = hsv(hue, rng.uniform(0.5, 1), rng.uniform(0.4, 0.9))
    else:
        ink = np.clip(luminance(photo)[..., None] + (photo - luminance(photo)[..., None]) * 2, 0, 1) * 0.85
    wash = rng.uniform(0, 0.45)
    return unit((tone + (1 - tone) * ink) * (1 - wash + wash * ink))


def ink(rng: Generator, photo: Array) -> Array:
    """East Asian ink wash: soft gray pools on rice paper, few strong black strokes."""
    gray = stretch_to_unit(blur(luminance(photo), rng.uniform(2, 4)))
    pools = np.clip(gray * 1.5 - 0.1 + 0.5 * (fbm(rng, len(photo), 3, 1.7) - 0.5), 0, 1)
    strokes = np.clip((blur(edges(photo, 2), 1) - 0.25) * 2.5, 0, 1) * (fbm(rng, len(photo), 4, 1.5) > 0.3)
    tone = np.clip(0.15 + 0.85 * pools, 0, 1) * (1 - 0.9 * strokes)
    paper = jitter(rng, (0.95, 0.93, 0.86), 0.015)
    return unit(tone[..., None] * paper + 0.04 * (fbm(rng, len(photo), 20, 0.8) - 0.5)[..., None]).astype(np.float32)


def oil(rng: Generator, photo: Array) -> Array:
    """Thick brush strokes along the shapes: rich flat dabs with lit ridges of paint."""
    size = len(photo)
    flow = flow_of(photo, rng.uniform(2, 5)) + (fbm(rng, size, 3, 2) - 0.5) * 1.5
    rich = np.clip(luminance(photo)[..., None] + (photo - luminance(photo)[..., None]) * rng.uniform(1.3, 1.9), 0, 1)
    cells = voronoi(rng, int(rng.integers(250, 900)), size)
    shift = (line_noise(rng, size, flow, 11, 1.0) - 0.5) * rng.uniform(5, 11)
    y, x = cells.seeds.astype(int).clip(0, size - 1).T
    dabs = (rich[y, x] + rng.normal(0, 0.05, (len(y), 3)))[cells.owner].astype(np.float32)
    dabs = 0.7 * warp(dabs, shift * np.sin(flow + 1.57), shift * np.cos(flow + 1.57)) + 0.3 * rich
    ridges = line_noise(rng, size, flow, 9, 0.8)
    relief = (ridges - np.roll(ridges, (1, 1), (0, 1))) * rng.uniform(0.8, 1.6)
    return unit(dabs * (0.88 + 0.2 * ridges[..., None]) + relief[..., None])


def watercolor(rng: Generator, photo: Array) -> Array:
    """Pale transparent washes with dark rims, bleeding edges, and much white paper between and around them."""
    size = len(photo)
    bleed = rng.uniform(3, 8)
    soft = ndimage.median_filter(photo[::2, ::2], (5, 5, 1)).repeat(2, 0).repeat(2, 1)[:size, :size]
    soft = blur(warp(soft, (fbm(rng, size, 8, 1.6) - 0.5) * bleed, (fbm(rng, size, 8, 1.6) - 0.5) * bleed), 0.7)
    level = stretch_to_unit(luminance(soft))
    steps = rng.integers(3, 6)
    rims = edges(np.round(blur(level, 1) * steps) / steps, 0.7)
    vivid = np.clip(level[..., None] + (soft - luminance(soft)[..., None]) * rng.uniform(1.8, 3), 0, 1)
    pools = fbm(rng, size, rng.uniform(3, 6), 1.6)
    strength = rng.uniform(0.45, 0.7) * (0.35 + 1.1 * pools)[..., None]
    wash = 1 - strength * (1 - vivid) - 0.6 * (rims * fbm(rng, size, 5, 1.5))[..., None] * (1 - 0.7 * vivid)
    y, x = axes(size)
    margin = np.minimum(np.minimum(y, 1 - y), np.minimum(x, 1 - x)) + 0.16 * (fbm(rng, size, 4, 1.4) - 0.5)
    bare = np.clip((level + 0.6 * (pools - 0.5) - rng.uniform(0.6, 0.85)) * 12, 0, 1)
    painted = np.clip((margin + rng.uniform(-0.06, 0.12)) * 30, 0, 1) * (1 - bare)
    edge = edges(painted, 0.8)[..., None] * 0.35 * (1 - 0.6 * vivid)
    grain = 0.06 * (fbm(rng, size, 26, 0.4) - 0.5)[..., None]
    return unit(wash * painted[..., None] + 0.985 * (1 - painted[..., None]) - edge + grain)


def starry(rng: Generator, photo: Array) -> Array:
    """Van Gogh's night: swirling short strokes of blues, whirls of pale light, haloed yellow stars."""
    size = len(photo)
    y, x = axes(size)
    flow = flow_of(photo, 5) * rng.choice([0.0, 1.0]) + 2.5 * fbm(rng, size, 2, 2.4)
    light = 0.55 * stretch_to_unit(luminance(photo)) * rng.random() + 0.25 * fbm(rng, size, 3, 1.9)
    for _ in range(rng.integers(1, 5)):
        cy, cx, reach = rng.random(), rng.random(), rng.uniform(0.12, 0.3)
        radius = np.hypot(y - cy, x - cx)
        pull = np.exp(-((radius / reach) ** 2))
        flow = flow * (1 - pull) + pull * (np.arctan2(y - cy, x - cx) + np.pi / 2 - 0.35)
        light += pull * 0.35 * (0.6 + 0.4 * np.cos(radius * rng.uniform(50, 90)))
    strokes = line_noise(rng, size, flow.astype(np.float32), int(rng.integers(9, 17)), rng.uniform(0.7, 1.4))
    tone = np.clip(0.12 + light + 0.65 * (strokes - 0.45), 0, 1)
    image = ramp(
        tone, [(0.02, 0.04, 0.17), (0.07, 0.17, 0.45), (0.18, 0.38, 0.7), (0.48, 0.66, 0.78), (0.88, 0.88, 0.62)]
    )
    for _ in range(rng.integers(2, 9)):
        radius = np.hypot(y - rng.random(), x - rng.random()) * rng.uniform(14, 34)
        ring = np.exp(-(radius**1.3)) * (0.75 + 0.5 * (strokes - 0.5) + 0.25 * np.cos(radius * 7))
        image = image * (1 - 0.9 * np.clip(ring, 0, 1)[..., None]) + ring[..., None] * np.array([1.0, 0.84, 0.22])
    return unit(image)


def cubism(rng: Generator, photo: Array) -> Array:
    """A photo broken into shaded, shifted facets of muted browns, grays and blues with dark seams."""
    size = len(photo)
    cells = voronoi(rng, int(rng.integers(14, 50)), size)
    shift = rng.normal(0, size / 18, (len(cells.seeds), 2))[cells.owner]
    gray = stretch_to_unit(luminance(warp(photo, shift[..., 0], shift[..., 1])))
    hues = rng.choice([0.07, 0.09, 0.1, 0.12, 0.58, 0.3], len(cells.seeds))
    tint = hsv(hues, rng.uniform(0.2, 0.6, len(hues)), 1.0)[cells.owner]
    y, x = np.mgrid[:size, :size] / size
    turn = rng.uniform(0, 2 * np.pi, len(hues))[cells.owner]
    facet = np.sin(turn) * y + np.cos(turn) * x
    shade = 0.3 + 0.45 * gray + 0.9 * (facet % 0.3)
    seam = np.clip((cells.border - 0.3) / 1.2, 0.15, 1)
    return unit(tint * (shade * seam)[..., None] + 0.05 * (fbm(rng, size, 18, 0.8) - 0.5)[..., None]).astype(np.float32)


def engraving(rng: Generator, photo: Array) -> Array:
    """Black ink lines on cream paper whose thickness carries the tone: engraving, etching, woodcut."""
    size = len(photo)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    gray = stretch_to_unit(blur(luminance(photo), 1.0))
    pitch, angle = rng.uniform(3.5, 7.5), rng.uniform(0, np.pi)
    bend = 6 * fbm(rng, size, 2, 2.2) + 5 * blur(gray, 3)
    lines = 0.5 + 0.5 * np.sin((x * np.cos(angle) + y * np.sin(angle) + bend) * 2 * np.pi / pitch)
    cross = 0.5 + 0.5 * np.sin((y * np.cos(angle) - x * np.sin(angle) + bend) * 2 * np.pi / pitch)
    ink_ = np.clip((lines - gray * 1.1) * 5, 0, 1) + np.clip((cross - gray * 2.4) * 5, 0, 1)
    ink_ = np.clip(ink_ + (edges(photo, 1) > 0.7), 0, 1)[..., None]
    return unit(jitter(rng, (0.95, 0.91, 0.82), 0.02) * (1 - ink_) + 0.07 * ink_)


def blueprint(rng: Generator, photo: Array) -> Array:
    """White drafting lines and a faint grid on Prussian blue paper."""
    size = len(photo)
    y, x = np.mgrid[:size, :size]
    step = int(rng.integers(8, 22))
    grid = (((y % step) == 0) | ((x % step) == 0)) * rng.uniform(0.08, 0.2)
    lines = np.clip(edges(photo, rng.uniform(0.7, 1.4)) * 1.6 - 0.35, 0, 1)
    paper = jitter(rng, (0.06, 0.2, 0.52), 0.03) * (0.85 + 0.25 * fbm(rng, size, 3, 1.6))[..., None]
    return unit(paper + (lines + grid)[..., None] * np.array([0.8, 0.86, 0.92]))
