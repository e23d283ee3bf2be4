"""Materials that the judge knows, drawn its own way. Each takes a generator and a side: (S, S, 3)."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from training.judge.drawing import (
    Array,
    cells,
    clouds,
    moved,
    of_regions,
    ramp,
    relief,
    smeared,
    soft,
    spread,
    to_border,
    unit,
)

_GLOW = [(4, 0, 0), (90, 8, 0), (190, 40, 0), (245, 120, 10), (255, 205, 60), (255, 250, 190)]
_BLAZE = [(50, 4, 0), (150, 24, 0), (232, 88, 6), (255, 168, 30), (255, 226, 110)]
_GOLD = [(40, 22, 2), (120, 78, 14), (190, 138, 32), (232, 190, 72), (255, 232, 140), (255, 252, 225)]
_WOODS = (
    [(60, 34, 16), (110, 68, 34), (150, 100, 56)],
    [(120, 78, 40), (176, 124, 72), (212, 168, 112)],
    [(88, 40, 20), (140, 72, 38), (178, 108, 62)],
    [(70, 60, 50), (110, 96, 80), (150, 134, 112)],
    [(180, 130, 70), (214, 170, 104), (236, 204, 150)],
    [(140, 66, 20), (206, 116, 42), (242, 168, 84)],
    [(18, 11, 7), (50, 32, 20), (88, 58, 38)],
    [(150, 100, 30), (204, 156, 66), (238, 206, 120)],
    [(96, 20, 14), (140, 34, 24), (176, 66, 48)],
)


def fire(rng: Generator, size: int) -> Array:
    """Tongues that rise, hot at their foot, torn by turbulence."""
    tongues = clouds(rng, size, int(rng.integers(4, 10)), 0.5, stretch=rng.uniform(2, 4))
    turbulence = clouds(rng, size, 4, 0.6) - 0.5
    torn = moved(tongues, turbulence * size * 0.25, (clouds(rng, size, 3) - 0.5) * size * 0.2)
    rise = np.linspace(rng.uniform(-0.5, 0), rng.uniform(0, 0.5), size, dtype=np.float32)[:, None]
    heat = spread(torn**1.4 + rise * rng.uniform(0, 0.8))
    licks = smeared(heat, np.full_like(heat, np.pi / 2) + turbulence, 4)
    return ramp(licks ** rng.uniform(0.6, 1.6), _GLOW if rng.random() < 0.7 else _BLAZE)


def ablaze(rng: Generator, light: Array, outline: Array) -> Array:
    """Something of this light and these outlines on fire: flames rise from its edges and glow in its lights."""
    size = len(light)
    sway = (clouds(rng, size, int(rng.integers(4, 9)), 0.5) - 0.5) * rng.uniform(0.1, 0.3) * size
    rising = np.zeros((size, size))
    for step in range(int(rng.integers(4, 9))):
        lift = np.full_like(light, step * rng.uniform(0.005, 0.02) * size)
        rising = np.maximum(rising, 0.88**step * moved(outline, lift, sway * step / 8))
    tongues = smeared(clouds(rng, size, 8, 0.6, stretch=3), np.full_like(light, np.pi / 2) + sway * 0.02, 3)
    heat = rng.uniform(0.4, 1) * rising + rng.uniform(0.2, 0.7) * light + rng.uniform(0.2, 0.7) * tongues
    return ramp(spread(heat) ** rng.uniform(0.7, 1.6), _GLOW if rng.random() < 0.6 else _BLAZE)


def lava(rng: Generator, size: int) -> Array:
    """A dark crust whose cracks glow."""
    _, border = cells(rng, size * 5 // 4, rng.uniform(4, 11))
    bend = size * 0.08
    start = size // 8
    border = border[start : start + size, start : start + size]
    border = moved(border, (clouds(rng, size, 4) - 0.5) * bend, (clouds(rng, size, 4) - 0.5) * bend)
    width = rng.uniform(0.012, 0.05) * size
    heat = np.exp(-border / width) * (0.6 + 0.8 * clouds(rng, size, 3))
    crust = clouds(rng, size, 8, 0.75)
    rock = (
        ramp(crust, [(10, 8, 8), (48, 36, 34), (84, 66, 60)]) * (0.5 + relief(crust, rng.uniform(0, 6.3), 9))[..., None]
    )
    glow = unit(heat * rng.uniform(0.7, 1.2))[..., None]
    return unit(rock * (1 - glow) + ramp(glow[..., 0], _GLOW[:5]) * (0.35 + 0.65 * glow) ** 0.5 * (glow > 0.04))


def stone_wall(rng: Generator, size: int) -> Array:
    """Courses of rough blocks of uneven width, or rubble, with mortar between."""
    numbers, border = _courses(rng, size) if rng.random() < 0.6 else cells(rng, size, rng.uniform(4, 9))
    hue = np.array([[120, 116, 110], [140, 126, 104], [104, 104, 108], [150, 142, 128]][rng.integers(4)]) / 255
    shade = of_regions(numbers, np.repeat(rng.random((size, size, 1)), 3, 2)) - 0.5
    tones = np.sign(shade) * np.abs(shade) ** 0.5 * rng.uniform(0.3, 0.9)
    grain = clouds(rng, size, 6, 0.8)
    height = np.minimum(border, size * 0.03) / (size * 0.03) + 0.6 * grain
    face = (
        hue
        * (0.75 + tones * 0.6 + 0.35 * grain[..., None])
        * (0.4 + 1.2 * relief(height, rng.uniform(0, 6.3), 3))[..., None]
    )
    mortar = (np.array([150, 146, 138]) / 255 if rng.random() < 0.4 else np.array([44, 42, 40]) / 255) * (
        0.8 + 0.4 * grain[..., None]
    )
    joint = unit(1.5 - border / (size * rng.uniform(0.006, 0.014)))[..., None]
    return unit(face * (1 - joint) + mortar * joint)


def _courses(rng: Generator, size: int) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], Array]:
    numbers, top, number = np.zeros((size, size), np.int64), 0, 0
    while top < size:
        height = int(rng.uniform(0.09, 0.22) * size)
        left = -int(rng.integers(0, size // 6))
        while left < size:
            width, number = int(rng.uniform(1, 2.6) * height), number + 1
            numbers[top : top + height, max(left, 0) : max(left + width, 0)] = number
            left += width
        top += height
    bend = size * 0.05
    wobble = [np.rint((clouds(rng, size, 5) - 0.5) * bend).astype(int) for _ in range(2)]
    rows, columns = np.indices((size, size))
    numbers = numbers[np.clip(rows + wobble[0], 0, size - 1), np.clip(columns + wobble[1], 0, size - 1)]
    return numbers, to_border(numbers)


def gold(rng: Generator, size: int) -> Array:
    """Polished, hammered or brushed metal: a relief that mirrors a golden room."""
    kind = rng.integers(3)
    if kind == 0:
        height = clouds(rng, size, int(rng.integers(2, 6)), 0.4)
    elif kind == 1:
        _, border = cells(rng, size, rng.uniform(6, 14))
        height = soft(np.sqrt(border), 1.5)
    else:
        height = smeared(clouds(rng, size, 20, 0.9), np.full((size, size), rng.uniform(0, 3.2)), 10) + clouds(
            rng, size, 2
        )
    return gilded(rng, spread(height))


def gilded(rng: Generator, height: Array) -> Array:
    """A surface of this height made of gold."""
    light = relief(height, rng.uniform(0, 6.3), rng.uniform(8, 26))
    mirror = 0.5 + 0.5 * np.sin(rng.uniform(5, 11) * light + rng.uniform(0, 6.3))
    tone = spread(0.6 * light + 0.3 * mirror + 0.3 * height)
    return ramp(tone ** rng.uniform(0.7, 1.3), _GOLD)


def desert_sand(rng: Generator, size: int) -> Array:
    """Wind ripples on dunes, with grain."""
    rows, columns = np.indices((size, size), np.float32) / size
    angle = rng.uniform(-0.7, 0.7) + (np.pi / 2 if rng.random() < 0.3 else 0)
    along = np.cos(angle) * rows + np.sin(angle) * columns
    phase = along * rng.uniform(7, 24) + (clouds(rng, size, 3, 0.45) - 0.5) * rng.uniform(1, 5)
    ripple = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    dune = clouds(rng, size, 2, 0.35)
    light = relief(ripple ** rng.uniform(0.8, 2), angle + np.pi / 2, 3) * rng.uniform(0.2, 0.6) + dune * 0.6
    grain = rng.normal(0, rng.uniform(0.02, 0.06), (size, size, 1))
    base = ramp(spread(light), [(140, 96, 52), (205, 156, 96), (236, 200, 142), (250, 230, 186)])
    return unit(base + grain)


def green_crystal(rng: Generator, size: int) -> Array:
    """Facets of emerald: flat planes, bright rims, a clear depth."""
    across = rng.uniform(3, 9)
    big, border = cells(rng, size, across)
    small, inner = cells(rng, size, across * rng.uniform(1.6, 2.6))
    numbers = big * 100_003 + small
    noise = np.repeat(rng.random((size, size, 1)), 3, 2).astype(np.float32)
    tone = spread(of_regions(numbers, noise)[..., 0] + 0.8 * of_regions(big, noise)[..., 0])
    rows, columns = np.indices((size, size), np.float32) / size
    tilt = of_regions(big, np.repeat(rng.random((size, size, 1)), 3, 2))[..., 0] * 60
    sheen = np.cos(tilt * 7) * rows + np.sin(tilt * 7) * columns
    rim = np.exp(-np.minimum(border, inner * 1.6) / (0.008 * size))
    body = ramp(spread(tone + 0.5 * sheen), [(0, 24, 14), (0, 78, 44), (10, 140, 80), (70, 205, 130), (190, 255, 215)])
    return unit(body + rim[..., None] * rng.uniform(0.2, 0.7) * np.array([0.75, 1, 0.85]))


def white_wool(rng: Generator, size: int) -> Array:
    """Curls of fibre, or knitted stitches, in off-white."""
    if rng.random() < 0.5:
        angle = clouds(rng, size, int(rng.integers(4, 9)), 0.5) * 4 * np.pi
        fibres = smeared(rng.random((size, size)).astype(np.float32), angle, int(rng.integers(4, 9)))
        light = 0.6 * spread(fibres) + 0.5 * clouds(rng, size, int(rng.integers(5, 12)), 0.5)
    else:
        light = _knitted(rng, size)
    tint = np.array([[250, 247, 240], [246, 240, 226], [240, 240, 242]][rng.integers(3)]) / 255
    return unit(tint * (0.5 + 0.55 * spread(light))[..., None])


def _knitted(rng: Generator, size: int) -> Array:
    rows, columns = np.indices((size, size), np.float32)
    stitch = size / rng.uniform(7, 16)
    lean = np.abs((columns / stitch) % 1 - 0.5) * 2
    phase = (rows / stitch * 1.2 + lean * 0.8 + (clouds(rng, size, 4) - 0.5)) % 1
    yarn = np.sin(np.pi * phase) ** 0.7 * (0.35 + 0.65 * np.sin(np.pi * lean))
    fuzz = smeared(rng.random((size, size)).astype(np.float32), np.full((size, size), 0.9), 3)
    return np.asarray(yarn + 0.4 * spread(fuzz), np.float32)


def wood(rng: Generator, size: int) -> Array:
    """Grain along boards: rings cut lengthwise, fibres, sometimes joints."""
    columns = np.indices((size, size), np.float32)[1] / size
    knot = clouds(rng, size, 2, 0.4, stretch=rng.uniform(2, 5))
    rings = (columns * rng.uniform(2, 6) + knot * rng.uniform(1, 5)) * rng.uniform(2, 4)
    bands = 0.5 + 0.5 * np.sin(2 * np.pi * rings)
    fibres = smeared(rng.random((size, size)).astype(np.float32), np.full((size, size), np.pi / 2), 14)
    tone = 0.55 * bands ** rng.uniform(0.6, 2) + 0.6 * spread(fibres) + 0.3 * knot
    image = ramp(spread(tone), _WOODS[rng.integers(len(_WOODS))])
    if rng.random() < 0.6:
        boards = int(rng.integers(3, 8))
        joint = np.abs((columns * boards + 0.5) % 1 - 0.5) < 0.02 * boards / 4
        shade = rng.uniform(0.75, 1.15, boards + 2)[(columns * boards + 0.5).astype(int)]
        image = image * shade[..., None] * np.where(joint, 0.3, 1)[..., None]
    return unit(image if rng.random() < 0.6 else image.transpose(1, 0, 2))


def autumn_leaves(rng: Generator, size: int) -> Array:
    """Fallen leaves over one another: lobed shapes with veins, in reds, oranges and browns."""
    scale = 3
    canvas = Image.new("RGB", (size * scale // 2, size * scale // 2), (70, 40, 20))
    draw = ImageDraw.Draw(canvas)
    side = canvas.width
    palette = [
        (196, 40, 22),
        (226, 92, 20),
        (240, 150, 30),
        (248, 196, 60),
        (150, 70, 30),
        (120, 30, 24),
        (204, 122, 40),
    ]
    count = int(rng.integers(70, 220))
    for _ in range(count):
        middle, radius = rng.uniform(0, side, 2), side * rng.uniform(0.9, 1.7) / count**0.5
        turn, lobes = rng.uniform(0, 6.3), int(rng.choice([1, 3, 5, 5, 7]))
        around = np.linspace(0, 2 * np.pi, 60)
        shape = radius * (0.55 + 0.45 * np.abs(np.cos(lobes * around / 2)) ** rng.uniform(0.5, 2))
        squeeze = rng.uniform(0.45, 1)
        x, y = shape * np.cos(around), squeeze * shape * np.sin(around)
        points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1) + middle
        color = np.clip(np.array(palette[rng.integers(len(palette))]) + rng.normal(0, 14, 3), 0, 255).astype(int)
        dark = tuple(int(c * 0.55) for c in color)
        draw.polygon([tuple(p) for p in points], fill=tuple(map(int, color)), outline=dark)
        for vein in range(0, 60, 60 // max(lobes, 3)):
            draw.line([tuple(middle), tuple(points[vein])], fill=dark, width=1)
    image = np.asarray(canvas.resize((size, size), Image.Resampling.LANCZOS), np.float32) / 255
    return unit(image * (0.75 + 0.5 * clouds(rng, size, 3))[..., None])


def zebra(rng: Generator, size: int) -> Array:
    """Forking stripes of black and white: noise of one wavelength and mostly one direction."""
    wave, angle = rng.uniform(5, 14), rng.uniform(0, np.pi)
    noise = rng.standard_normal((size, size))
    frequency_y, frequency_x = np.meshgrid(
        np.fft.fftfreq(size, 1 / size), np.fft.fftfreq(size, 1 / size), indexing="ij"
    )
    radius, direction = np.hypot(frequency_y, frequency_x), np.arctan2(frequency_y, frequency_x)
    turn = np.angle(np.exp(2j * (direction - angle))) / 2
    band = np.exp(-(((radius - wave) / (0.22 * wave)) ** 2) - (turn / rng.uniform(0.25, 0.6)) ** 2)
    stripes = np.real(np.fft.ifft2(np.fft.fft2(noise) * band))
    edge = unit(0.5 + stripes / stripes.std() * rng.uniform(1.5, 5) + rng.uniform(-0.2, 0.2))
    bend = size * rng.uniform(0, 0.12)
    bent = moved(edge, (clouds(rng, size, 3) - 0.5) * bend, (clouds(rng, size, 3) - 0.5) * bend)
    coat = np.array([[255, 255, 255], [245, 238, 224]][rng.integers(2)]) / 255
    return unit(bent[..., None] * coat * (0.9 + 0.1 * clouds(rng, size, 20, 0.9))[..., None] + 0.03)
