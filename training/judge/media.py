"""Media that the judge knows, drawn its own way. Each takes a generator and a photo (S, S, 3): (S, S, 3)."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle
from skimage.segmentation import slic

from training.judge.drawing import (
    Array,
    cells,
    clouds,
    luminance,
    of_regions,
    outlines,
    ramp,
    random_hues,
    saturated,
    smeared,
    soft,
    spread,
    to_border,
    unit,
)


def pencil_sketch(rng: Generator, photo: Array) -> Array:
    """Black strokes on white paper: contours, and hatching where it is dark."""
    size = len(photo)
    gray = spread(soft(luminance(photo), 1))
    lines = outlines(photo, rng.uniform(0.6, 1.6)) ** rng.uniform(0.6, 1.1)
    grain = rng.random((size, size)).astype(np.float32)
    hatch = np.zeros((size, size), np.float32)
    first = rng.uniform(0, 3.2)
    for layer in range(int(rng.integers(1, 4))):
        strokes = spread(smeared(grain[:: 1 - 2 * (layer % 2)], np.full_like(grain, first + 0.8 * layer), 6))
        hatch = np.maximum(hatch, (strokes > 0.5 + 0.1 * layer) * strokes * unit(1 - (1.3 + 0.5 * layer) * gray))
    tooth = 1 - 0.12 * grain
    ink = unit(rng.uniform(0.7, 1.1) * lines + rng.uniform(0.3, 0.9) * hatch)
    paper = rng.uniform(0.88, 1) * tooth
    return unit(np.repeat((paper * (1 - ink * rng.uniform(0.75, 1)))[..., None], 3, 2) * _paper(rng, 0.02))


def ink_wash(rng: Generator, photo: Array) -> Array:
    """Wet grays that run into one another, a few dark strokes, much white."""
    size = len(photo)
    gray = spread(soft(luminance(photo), rng.uniform(1, 3)))
    run = (clouds(rng, size, 4, 0.5) - 0.5) * rng.uniform(0.3, 0.6)
    wash = soft(unit(gray + run), rng.uniform(1, 3)) ** rng.uniform(0.5, 1.1)
    levels = int(rng.integers(3, 6))
    pooled = 0.5 * np.round(wash * levels) / levels + 0.5 * wash
    rim = outlines(pooled, 0.8) * rng.uniform(0.05, 0.25)
    strokes = spread(outlines(soft(photo, 2), 1.5)) > rng.uniform(0.55, 0.8)
    dark = soft(strokes.astype(np.float32), rng.uniform(0.5, 1.4)) * rng.uniform(0.3, 0.9)
    tone = unit(0.25 + 0.8 * pooled - rim) * (1 - dark)
    return unit(tone[..., None] * _paper(rng, 0.08))


def _paper(rng: Generator, yellow: float) -> Array:
    share = rng.uniform(0, yellow)
    return np.array([1, 1 - 0.5 * share, 1 - 2 * share], np.float32)


def stained_glass(rng: Generator, photo: Array) -> Array:
    """Panes of saturated glass in dark lead."""
    size = len(photo)
    if rng.random() < 0.6:
        numbers = slic(photo, int(rng.integers(25, 90)), compactness=float(rng.uniform(3, 12)), start_label=0).astype(
            np.int64
        )
        border = to_border(numbers)
    else:
        numbers, border = cells(rng, size, rng.uniform(4, 10))
    color = saturated(of_regions(numbers, photo), rng.uniform(2, 4))
    hues = random_hues(rng, 997, 0.4)[numbers % 997]
    share = rng.uniform(0, 0.9)
    glass = (1 - share) * color + share * hues
    light = 0.6 + 0.6 * clouds(rng, size, 3) + 0.2 * luminance(photo)
    lead = unit(1.6 - border / (size * rng.uniform(0.006, 0.016)))[..., None]
    return unit(glass * light[..., None] * (1 - lead) + 0.04 * lead)


def starry_night(rng: Generator, photo: Array) -> Array:
    """Van Gogh's night: strokes that follow whirls, in blues, with yellow lights."""
    size = len(photo)
    rows, columns = np.indices((size, size), np.float32) / size
    angle = (clouds(rng, size, 2, 0.4) - 0.5) * 2.5
    gradient = soft(luminance(photo), 3)
    along = np.arctan2(ndimage.sobel(gradient, 1), -ndimage.sobel(gradient, 0))
    angle = angle + rng.uniform(0, 0.9) * np.nan_to_num(along)
    glow = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(2, 7))):
        y, x, radius = rng.random(), rng.random(), rng.uniform(0.05, 0.22)
        distance = np.hypot(rows - y, columns - x)
        near = np.exp(-((distance / (1.6 * radius)) ** 2))
        angle = angle * (1 - near) + near * (np.arctan2(rows - y, columns - x) + np.pi / 2)
        glow += np.exp(-((distance / (0.45 * radius)) ** 2)) + 0.5 * np.exp(
            -(((distance - radius) / (0.2 * radius)) ** 2)
        )
    strokes = spread(smeared(rng.random((size, size)).astype(np.float32), angle, int(rng.integers(5, 10))))
    tone = unit(0.45 * strokes + 0.55 * spread(luminance(photo)) ** 1.2 * rng.uniform(0.6, 1) + 0.05)
    night = ramp(tone, [(8, 14, 48), (24, 50, 120), (52, 98, 176), (126, 168, 208), (214, 220, 190)])
    lights = ramp(strokes, [(226, 160, 30), (246, 204, 70), (255, 240, 160)])
    share = unit(glow * 0.9 + (luminance(photo) > rng.uniform(0.75, 1)) * 0.5 * strokes)[..., None]
    return unit(night * (1 - share) + lights * share)


def mosaic(rng: Generator, photo: Array) -> Array:
    """Small tiles, set by hand: each of one color, with grout between."""
    size, turn = len(photo), rng.uniform(-0.6, 0.6)
    across = rng.uniform(12, 28)
    rows, columns = np.indices((size, size), np.float32) * across / size
    bend = (clouds(rng, size, 2, 0.4) - 0.5) * rng.uniform(0, 5)
    down = np.cos(turn) * rows - np.sin(turn) * columns + bend + 50
    right = np.sin(turn) * rows + np.cos(turn) * columns + 50
    row = np.floor(down).astype(np.int64)
    right = right + 0.5 * (row % 2) * (rng.random() < 0.5)
    column = np.floor(right).astype(np.int64)
    numbers = row * 1009 + column
    inset = np.minimum(np.minimum(down % 1, 1 - down % 1), np.minimum(right % 1, 1 - right % 1))
    jitter = rng.normal(0, rng.uniform(0.02, 0.12), (4093, 3))[numbers * 31 % 4093]
    tiles = saturated(of_regions(numbers, photo), rng.uniform(1, 1.8)) + jitter
    joint = unit((rng.uniform(0.06, 0.14) - inset) * 14)[..., None]
    grout = rng.choice([0.15, 0.5, 0.8, 0.9])
    return unit(tiles * (0.85 + 0.3 * unit(inset * 2))[..., None] * (1 - joint) + grout * joint)


def neon_light(rng: Generator, photo: Array) -> Array:
    """Tubes of light along the outlines, in the dark."""
    size = len(photo)
    edge = outlines(photo, rng.uniform(1, 2.2))
    thin = unit((edge - rng.uniform(0.25, 0.5)) * 3)
    region = clouds(rng, size, 2, 0.3)
    hues = random_hues(rng, 4, 0.9)
    color = hues[np.minimum((region * 4).astype(int), 3)]
    color = soft(color, 4)
    halo = soft(thin, 1.5) + 1.2 * soft(thin, 5) + 1.5 * soft(thin, 14)
    dark = photo * rng.uniform(0, 0.2) * np.array([0.5, 0.4, 0.9])
    core = unit(thin - 0.5)[..., None]
    return unit(dark + color * (halo * rng.uniform(0.8, 1.4))[..., None] + core * rng.uniform(0.4, 0.9))


def watercolor(rng: Generator, photo: Array) -> Array:
    """Thin washes on white paper: flat shapes, dark rims, blooms, granulation."""
    size = len(photo)
    strength = float(rng.uniform(0.1, 0.3))
    flat: Array = denoise_tv_chambolle(photo, strength, channel_axis=2, max_num_iter=30)
    bleed = (clouds(rng, size, 5, 0.6) - 0.5) * rng.uniform(0.15, 0.4)
    wash = unit(saturated(flat, rng.uniform(1, 1.7)) ** rng.uniform(0.5, 0.8) + bleed[..., None])
    rim = outlines(flat, 1) * rng.uniform(0.1, 0.35)
    grain = clouds(rng, size, 24, 0.9) - 0.5
    tone = 1 - (1 - wash) * (rng.uniform(0.6, 0.95) + 0.4 * grain + rim)[..., None]
    rows, columns = np.indices((size, size)) / size
    inset = (
        np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns)) + (clouds(rng, size, 4) - 0.5) * 0.2
    )
    bare = unit(1 - inset * 20)[..., None] * (rng.random() < 0.4)
    return unit(tone * (1 - bare) + 0.97 * bare)


def pop_art(rng: Generator, photo: Array) -> Array:
    """Few flat, loud colors by brightness, printed dots, sometimes black outlines."""
    size = len(photo)
    gray = spread(soft(luminance(photo), rng.uniform(0.8, 2)))
    count = int(rng.integers(3, 6))
    level = np.minimum((gray * count).astype(int), count - 1)
    hues = random_hues(rng, count, 0.8)
    hues[0] *= rng.uniform(0, 0.5)
    hues[-1] = 1 - (1 - hues[-1]) * rng.uniform(0, 0.6)
    image = hues[level]
    if rng.random() < 0.75:
        rows, columns = np.indices((size, size)) * rng.uniform(18, 40) * np.pi / size
        screen = 0.5 + 0.5 * np.sin(rows + columns) * np.sin(rows - columns)
        dots = (screen > 0.35 + 0.5 * gray) & (level > 0)
        image = np.where(dots[..., None], random_hues(rng, 1, 0.7)[0], image)
    if rng.random() < 0.5:
        image = image * (outlines(photo, 1.5) < 0.5)[..., None]
    return unit(soft(image.astype(np.float32), 0.4))


def blueprint(rng: Generator, photo: Array) -> Array:
    """White lines on blue paper, with a grid."""
    size = len(photo)
    line = unit((outlines(photo, rng.uniform(0.6, 1.4)) - rng.uniform(0.1, 0.3)) * rng.uniform(1.2, 2.5))
    blue = np.array([[16, 58, 130], [24, 74, 160], [10, 40, 104], [34, 92, 170]][rng.integers(4)]) / 255
    rows, columns = np.indices((size, size))
    step = int(rng.integers(8, 26))
    grid = ((rows % step == 0) | (columns % step == 0)) * rng.uniform(0, 0.25)
    ink = unit(line * rng.uniform(0.7, 1) + grid)[..., None]
    paper = blue * (
        0.9 + 0.2 * clouds(rng, size, 4)[..., None] + rng.uniform(0, 0.25) * (luminance(photo)[..., None] - 0.5)
    )
    return unit(paper * (1 - ink) + np.array([0.9, 0.95, 1]) * ink)


def pixel_art(rng: Generator, photo: Array) -> Array:
    """Big square pixels in few colors."""
    size, across = len(photo), int(rng.integers(16, 40))
    image = Image.fromarray((saturated(photo, rng.uniform(1, 1.6)) * 255).astype(np.uint8))
    small = image.resize((across, across), Image.Resampling.BOX).quantize(int(rng.choice([8, 12, 16, 24, 48])))
    return np.asarray(small.convert("RGB").resize((size, size), Image.Resampling.NEAREST), np.float32) / 255
