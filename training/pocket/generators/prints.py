"""Printed, woven, folded and photographed looks, and painters' manners. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from training.pocket.generators.noise import (
    Array,
    axes,
    blur,
    cell_means,
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
    vivid,
    voronoi,
    warp,
)


def _screen(size: int, pitch: float, angle: float) -> Array:
    """Halftone screen: how early each pixel turns dark, 0 to 1, round dots on a turned lattice."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray(0.5 + 0.25 * (np.cos(u * 2 * np.pi / pitch) + np.cos(v * 2 * np.pi / pitch)), np.float32)


def halftone(rng: Generator, photo: Array) -> Array:
    """Newsprint: black dots of varying size on pale paper."""
    size = len(photo)
    gray = stretch_to_unit(blur(luminance(photo), 1.0))
    dots = np.clip((_screen(size, rng.uniform(4, 8.5), rng.uniform(0.3, 1.2)) - (0.06 + 0.9 * gray)) * 7 + 0.5, 0, 1)[
        ..., None
    ]
    paper = jitter(rng, (0.94, 0.92, 0.86), 0.025)
    return unit(paper * (1 - dots) + dots * jitter(rng, (0.08, 0.08, 0.09), 0.02))


def risograph(rng: Generator, photo: Array) -> Array:
    """Two or three bright spot inks with grain, printed a little out of register on off-white paper."""
    size = len(photo)
    inks = [(0.95, 0.28, 0.35), (0.0, 0.47, 0.75), (1.0, 0.85, 0.1), (0.0, 0.66, 0.45), (0.95, 0.45, 0.65)]
    gray = stretch_to_unit(luminance(photo))
    image = np.ones((size, size, 3)) * jitter(rng, (0.96, 0.95, 0.91), 0.01)
    for number, pick in enumerate(rng.permutation(len(inks))[: rng.integers(2, 4)]):
        channel = stretch_to_unit(photo[..., number % 3]) if rng.random() < 0.6 else gray
        plate = np.roll(channel, rng.integers(-3, 4, 2), (0, 1))
        cover = np.clip((1 - plate) * 1.3 - 0.12 + 0.7 * (rng.random((size, size)) - 0.5), 0, 1)
        cover = np.clip((cover - 0.35) * 3, 0, 1) if rng.random() < 0.5 else cover
        image = image * (1 - cover[..., None] * (1 - jitter(rng, inks[pick], 0.03)))
    return unit(image)


def embroidery(rng: Generator, photo: Array) -> Array:
    """Satin stitches: short parallel shiny threads, their direction changing from patch to patch, on linen."""
    size = len(photo)
    cells = voronoi(rng, int(rng.integers(40, 140)), size)
    colors = vivid(cell_means(photo, cells), rng.uniform(1.4, 2.2))[cells.owner]
    colors = 0.6 * colors + 0.4 * vivid(blur(photo, 2), 1.8)
    angle = rng.uniform(0, np.pi, len(cells.seeds))[cells.owner]
    y, x = np.mgrid[:size, :size]
    across = y * np.cos(angle) - x * np.sin(angle)
    along = x * np.cos(angle) + y * np.sin(angle)
    pitch = rng.uniform(2.6, 4.2)
    thread = np.abs(np.sin(across * np.pi / pitch))
    sheen = 0.6 + 0.4 * np.sin(along / rng.uniform(3, 6) + np.floor(across / pitch) * 1.7)
    image = colors * (0.3 + 0.62 * thread * (0.6 + 0.5 * sheen))[..., None] + 0.22 * (thread**4 * sheen)[..., None]
    return unit(image * np.clip(0.55 + cells.border / 2, 0, 1)[..., None])


def origami(rng: Generator, photo: Array) -> Array:
    """Folded colored paper: large flat triangles, sharp creases, a shadow along each fold."""
    size = len(photo)
    cells = voronoi(rng, int(rng.integers(10, 36)), size, 0.3)
    count = len(cells.seeds)
    turn = rng.uniform(0, 2 * np.pi, count)[cells.owner]
    y, x = np.mgrid[:size, :size]
    side = (y - cells.seeds[cells.owner][..., 0]) * np.sin(turn) + (x - cells.seeds[cells.owner][..., 1]) * np.cos(turn)
    paper = vivid(cell_means(photo, cells), rng.uniform(1.6, 2.6)) * 0.75 + 0.25
    shade = rng.uniform(0.65, 1.1, count)[cells.owner] * (1 - 0.28 * (side > 0))
    fold = 0.28 * np.exp(-np.clip(side, 0, None) / 5) * (side > 0) - 0.12 * np.exp(-np.abs(side + 0.8))
    rim = np.clip(cells.border / 1.2, 0, 1) * 0.35 + 0.65
    return unit(
        paper[cells.owner] * ((shade - fold) * rim)[..., None] + 0.02 * (fbm(rng, size, 30, 0.3) - 0.5)[..., None]
    )


def graffiti(rng: Generator, photo: Array) -> Array:
    """Spray paint on a wall: loud overlapping fields with soft rims, drips, thick outlines."""
    size = len(photo)
    wall = 0.55 + 0.2 * fbm(rng, size, 12, 0.8)[..., None]
    gray = stretch_to_unit(blur(luminance(photo), 3)) + 0.25 * (fbm(rng, size, 2, 2) - 0.5)
    image = np.ones((size, size, 3)) * wall
    hues = rng.permutation([0.92, 0.53, 0.15, 0.78, 0.36, 0.02])
    for number, level in enumerate(np.linspace(0.15, 0.8, int(rng.integers(3, 5)))):
        cover = np.clip((gray - level) * rng.uniform(5, 12), 0, 1)
        drips = np.maximum.accumulate(cover * (fbm(rng, size, 20, 0.6, (60, 1)) > 0.8), axis=0) * np.exp(-axes(size)[0])
        cover = np.maximum(cover, 0.8 * drips)[..., None]
        image = image * (1 - cover) + cover * hsv(hues[number], 0.85, rng.uniform(0.8, 1))
    mist = (rng.random((size, size)) > 0.97)[..., None] * 0.4
    outline = np.clip(blur(edges(photo, 2.2), 1.0) * 2.4 - 0.8, 0, 1)[..., None]
    return unit((image + mist * (rng.random(3) - 0.3)) * (1 - outline) + outline * rng.choice([0.03, 0.03, 0.97]))


def sepia(rng: Generator, photo: Array) -> Array:
    """An old brown photograph: faded, soft, spotted, with a dark rim."""
    size = len(photo)
    gray = stretch_to_unit(blur(luminance(photo), rng.uniform(0.5, 1.2)))
    gray = 0.1 + 0.78 * gray + 0.06 * (fbm(rng, size, 26, 0.4) - 0.5)
    y, x = axes(size)
    gray = gray * (1.05 - rng.uniform(0, 0.9) * ((y - 0.5) ** 2 + (x - 0.5) ** 2))
    spots = np.clip((fbm(rng, size, 16, 1.0) - 0.93) * 12, 0, 1) * 0.35
    return unit(
        ramp(np.clip(gray + spots, 0, 1), [(0.13, 0.07, 0.03), (0.5, 0.34, 0.2), (0.8, 0.66, 0.46), (0.98, 0.91, 0.76)])
    )


def x_ray(rng: Generator, photo: Array) -> Array:
    """A radiograph: inverted glowing shapes in blue-gray on black, translucent, soft."""
    size = len(photo)
    dense = 1 - stretch_to_unit(blur(luminance(photo), rng.uniform(0.8, 2)))
    glow = np.clip(
        0.75 * dense**1.5 + 0.45 * blur(edges(photo, 1.6), 1.2) + 0.12 * (fbm(rng, size, 3, 1.8) - 0.5), 0, 1
    )
    grain = 0.04 * rng.normal(0, 1, (size, size))
    return ramp(
        np.clip(glow + grain, 0, 1), [(0.0, 0.01, 0.03), (0.12, 0.2, 0.29), (0.45, 0.58, 0.68), (0.93, 0.97, 1.0)]
    )


def ukiyo_e(rng: Generator, photo: Array) -> Array:
    """A Japanese woodblock print: flat Prussian blues, cream, ochre; fine dark outlines; claw-foamed waves."""
    size = len(photo)
    gray = stretch_to_unit(blur(luminance(photo), 1.8))
    inks = [(0.09, 0.17, 0.34), (0.2, 0.38, 0.56), (0.52, 0.66, 0.7), (0.88, 0.83, 0.69), (0.95, 0.92, 0.82)]
    if rng.random() < 0.3:
        inks[int(rng.integers(1, 4))] = (0.75, 0.42, 0.28)
    step = np.floor(np.clip(gray, 0, 0.999) * len(inks)) / (len(inks) - 1)
    image = ramp(step, [jitter(rng, ink, 0.02).tolist() for ink in inks])
    y, _ = axes(size)
    waves = np.sin((y * rng.uniform(5, 10) + 0.9 * fbm(rng, size, 2, 2.3)) * 2 * np.pi)
    lines = np.exp(-np.abs(waves) * rng.uniform(6, 12)) * np.clip((0.6 - gray) * 4, 0, 1)
    foam = np.clip((fbm(rng, size, 9, 1.6) + 0.5 * lines - 0.95) * 8, 0, 1)[..., None]
    image = image * (1 - foam) + foam * np.array([0.95, 0.93, 0.85])
    outline = np.clip(edges(image, 0.8) * 1.5 - 0.5, 0, 0.85)[..., None]
    paper = 0.95 + 0.08 * (fbm(rng, size, 20, 0.5, (1, 6)) - 0.5)[..., None]
    return unit((image * (1 - outline) + outline * np.array([0.08, 0.12, 0.22])) * paper)


def impressionism(rng: Generator, photo: Array) -> Array:
    """Monet's garden light: many small loose dabs of broken lilac, green, blue and rose."""
    size = len(photo)
    cells = voronoi(rng, int(rng.integers(700, 1500)), size)
    colors = vivid(cell_means(photo, cells), 1.4) * 0.75 + 0.22
    colors = colors + hsv(rng.choice([0.78, 0.6, 0.36, 0.93, 0.14], len(colors)), 0.6, 1.0) * 0.36 - 0.24
    colors = colors + rng.normal(0, 0.08, colors.shape)
    flow = 0.35 * (fbm(rng, size, 3, 2) - 0.5) + rng.choice([0.0, 0.2, 1.4])
    shift = (line_noise(rng, size, flow.astype(np.float32), 11, 1.1) - 0.5) * rng.uniform(6, 12)
    dabs = warp(colors[cells.owner].astype(np.float32), shift * 0.4, shift)
    return unit(dabs * (0.9 + 0.2 * line_noise(rng, size, flow.astype(np.float32), 7, 0.7)[..., None]))


def de_stijl(rng: Generator, photo: Array) -> Array:
    """Mondrian: black bars on a grid of white, red, blue and yellow rectangles."""
    size = len(photo)
    image = np.ones((size, size, 3)) * jitter(rng, (0.95, 0.94, 0.9), 0.01)
    primaries = [(0.83, 0.11, 0.1), (0.1, 0.2, 0.58), (0.96, 0.82, 0.12), (0.94, 0.93, 0.9), (0.94, 0.93, 0.9)]
    gray = luminance(photo)
    rows, columns = (np.sort(rng.integers(4, size - 4, rng.integers(2, 7))) for _ in range(2))
    for top, bottom in zip([0, *rows], [*rows, size], strict=True):
        for left, right in zip([0, *columns], [*columns, size], strict=True):
            darkness = 1 - gray[top : bottom + 1, left : right + 1].mean()
            pick = rng.integers(3) if rng.random() < 0.25 + 0.5 * darkness else 3
            image[top:bottom, left:right] = jitter(rng, primaries[pick], 0.02)
    half = rng.uniform(1.2, 3.2)
    y, x = np.mgrid[:size, :size]
    bars = (np.abs(y[..., None] - rows).min(-1) < half) | (np.abs(x[..., None] - columns).min(-1) < half)
    return unit(np.where(bars[..., None], 0.05, image))


def psychedelic(rng: Generator, photo: Array) -> Array:
    """Posters of the sixties: contour bands of clashing saturated colors flowing around the shapes."""
    size = len(photo)
    gray = stretch_to_unit(blur(luminance(photo), rng.uniform(2, 4)))
    bend = rng.uniform(0.4, 1.2) * fbm(rng, size, 2, 2.4)
    phase = (gray * rng.uniform(1.5, 3) + bend) * rng.uniform(1.5, 3)
    steps = rng.integers(5, 8)
    hue = np.floor(phase * steps) / steps * rng.choice([1.0, 2.0]) + rng.random()
    ridge = np.abs(2 * ((phase * steps) % 1) - 1)
    image = hsv(hue, 0.92, 0.75 + 0.25 * (1 - ridge))
    outline = np.clip(edges(photo, 1.8) * 2 - 1, 0, 0.9)[..., None]
    return unit(image * (1 - outline))


def flowing_lines(rng: Generator, photo: Array) -> Array:
    """Art nouveau: whiplash curves in dark contour around flat gold, green and rose fields."""
    size = len(photo)
    gray = stretch_to_unit(blur(luminance(photo), 2.5))
    flow = flow_of(photo, 8) + 1.5 * fbm(rng, size, 2, 2.5)
    curve = line_noise(rng, size, flow.astype(np.float32), 21, 2.2)
    field = np.floor((0.65 * gray + 0.35 * curve) * 5) / 4
    colors = [(0.2, 0.26, 0.18), (0.42, 0.5, 0.3), (0.75, 0.6, 0.3), (0.88, 0.72, 0.55), (0.96, 0.9, 0.75)]
    image = ramp(np.clip(field, 0, 1), [jitter(rng, color, 0.025).tolist() for color in colors])
    contour = np.clip(edges(image, 0.9) * 1.8 - 0.4, 0, 0.9)[..., None]
    return unit(image * (1 - contour) + contour * np.array([0.12, 0.09, 0.06]))
