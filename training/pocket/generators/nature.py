"""Textures of the elements: fire, water, ice, air, earth and sky. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from training.pocket.generators.noise import Array, axes, blur, fbm, hsv, jitter, palette, ramp, unit, voronoi, warp


def fire(rng: Generator, size: int) -> Array:
    """Licking flames: tongues drawn upwards, black to red to orange to yellow, hottest below."""
    y, _ = axes(size)
    sway = (fbm(rng, size, 3, 2.0, (1.5, 1)) - 0.5) * size * rng.uniform(0.1, 0.3)
    tongues = warp(fbm(rng, size, rng.uniform(3, 8), 1.6, (rng.uniform(2, 4), 1)), np.zeros_like(sway), sway)
    ridged = 1 - np.abs(2 * warp(fbm(rng, size, 4, 1.7, (3, 1)), np.zeros_like(sway), sway) - 1)
    heat = 0.62 * tongues + 0.38 * ridged + rng.uniform(0, 0.55) * (y - 0.6) + rng.uniform(-0.12, 0.12)
    heat = np.clip((heat - 0.12) * 1.25, 0, 1)
    return ramp(
        heat,
        palette(
            rng,
            [(0.02, 0.0, 0.0), (0.3, 0.02, 0.0), (0.78, 0.13, 0.0), (1, 0.45, 0.02), (1, 0.78, 0.12), (1, 0.97, 0.65)],
            0.02,
        ),
    )


def water(rng: Generator, size: int) -> Array:
    """Waves with bright caustic lines and white crests, blue to turquoise."""
    depth = fbm(rng, size, rng.uniform(2, 5), 1.8, (1, rng.uniform(1.5, 4)))
    net = np.exp(
        -np.abs(2 * fbm(rng, size, rng.uniform(5, 10), 2.2, (1, rng.uniform(1, 2.5))) - 1) * rng.uniform(6, 14)
    )
    image = ramp(
        depth, palette(rng, [(0.0, 0.1, 0.28), (0.0, 0.32, 0.55), (0.1, 0.58, 0.74), (0.55, 0.86, 0.92)], 0.03)
    )
    foam = np.clip((fbm(rng, size, 8, 1.2, (1, 3)) - 0.86) * 8, 0, 1) * (rng.random() < 0.5)
    return unit(image + (0.45 * net + foam)[..., None] * np.array([0.8, 0.95, 1.0]))


def ice(rng: Generator, size: int) -> Array:
    """Pale blue frozen plates with sharp white cracks and frost."""
    cells = voronoi(rng, int(rng.integers(8, 40)), size)
    wobble = 4 * (fbm(rng, size, 6, 1.5) - 0.5)
    cracks = np.exp(-np.abs(cells.border + wobble * 0.4) / rng.uniform(0.7, 1.6))
    hair = np.exp(-np.abs(2 * fbm(rng, size, 5, 1.4) - 1) * 22)
    plates = rng.uniform(-0.18, 0.18, len(cells.seeds))[cells.owner]
    body = 0.75 * fbm(rng, size, 3, 1.6) + plates + 0.15
    image = ramp(np.clip(body, 0, 1), palette(rng, [(0.28, 0.52, 0.72), (0.55, 0.77, 0.9), (0.82, 0.94, 0.99)], 0.03))
    return unit(image + (0.65 * cracks + 0.4 * hair)[..., None] + 0.1 * (fbm(rng, size, 30, 0.4) - 0.5)[..., None])


def grass(rng: Generator, size: int) -> Array:
    """Blades of a lawn: thin bright strokes over dark green."""
    shade = np.zeros((size, size), np.float32)
    for layer in range(3):
        lean = (fbm(rng, size, 4, 1.6) - 0.5) * size * 0.15
        blades = fbm(rng, size, rng.uniform(14, 26), 0.8, (rng.uniform(4, 7), 1))
        shade = np.maximum(shade * 0.8, warp(blades, np.zeros_like(lean), lean) * (0.6 + 0.2 * layer))
    return ramp(
        shade, palette(rng, [(0.01, 0.06, 0.01), (0.08, 0.28, 0.04), (0.3, 0.55, 0.1), (0.68, 0.85, 0.3)], 0.03)
    )


_SKIES = (
    ((0.16, 0.38, 0.75), (0.5, 0.72, 0.93)),
    ((0.16, 0.38, 0.75), (0.5, 0.72, 0.93)),
    ((0.36, 0.42, 0.52), (0.66, 0.7, 0.76)),  # overcast
    ((0.3, 0.34, 0.55), (0.86, 0.7, 0.62)),  # dusk
)


def clouds(rng: Generator, size: int) -> Array:
    """White billows with gray undersides on blue sky; some days veils on a paler, grayer or later one."""
    cover, shade = _billows(rng, size) if rng.random() < 0.65 else _veils(rng, size)
    y, _ = axes(size)
    sky = ramp(y, palette(rng, _SKIES[rng.integers(len(_SKIES))], 0.03))
    return unit(sky * (1 - cover[..., None]) + (shade * cover)[..., None])


def _billows(rng: Generator, size: int) -> tuple[Array, Array]:
    """How much of the sky is covered, and how bright the cover is."""
    billow = fbm(rng, size, rng.uniform(1.5, 3), 1.9, (1, 1.5))
    cover = np.clip((billow - rng.uniform(0.25, 0.5)) * 3.2, 0, 1)
    return cover, np.clip(0.85 + 4 * (billow - np.roll(billow, -max(2, size // 30), 0)), 0.6, 1)


def _veils(rng: Generator, size: int) -> tuple[Array, Array]:
    """High, thin clouds, drawn out by the wind, denser towards the horizon."""
    y, _ = axes(size)
    veil = fbm(rng, size, rng.uniform(1.5, 3), rng.uniform(1.6, 2.2), (1, rng.uniform(1, 4)))
    cover = np.clip(rng.uniform(0.3, 1.0) * veil**1.5 + rng.uniform(0, 0.6) * (y - 0.5), 0, 1)
    return cover, 0.85 + 0.15 * veil


def sand(rng: Generator, size: int) -> Array:
    """Wind ripples and grains of desert sand."""
    y, x = axes(size)
    bend = fbm(rng, size, 2, 2.2) * rng.uniform(1.5, 4)
    wave = (y * rng.uniform(8, 22) + x * rng.uniform(-5, 5) + bend) % 1
    ripple = np.where(wave < 0.7, wave / 0.7, (1 - wave) / 0.3)
    grain = rng.random((size, size), np.float32)
    return ramp(
        np.clip(0.6 * ripple + 0.25 * fbm(rng, size, 3, 2) + 0.3 * (blur(grain, 0.5) - 0.35), 0, 1),
        palette(rng, [(0.45, 0.3, 0.16), (0.76, 0.58, 0.36), (0.95, 0.82, 0.6)], 0.03),
    )


def galaxy(rng: Generator, size: int) -> Array:
    """Deep space: purple and blue nebulae full of tiny white stars."""
    gas = fbm(rng, size, rng.uniform(2, 4), 1.7)
    glow = np.clip((gas - 0.35) * 1.5, 0, 1) ** 1.5
    hue = rng.uniform(0.58, 0.9) + 0.25 * (fbm(rng, size, 2, 2) - 0.5)
    image = hsv(hue, 0.75, 0.04 + 0.8 * glow)
    stars = np.where(rng.random((size, size)) > rng.uniform(0.985, 0.995), rng.uniform(0.4, 1, (size, size)), 0)
    twinkle = stars + 1.6 * blur(stars.astype(np.float32), 0.8)
    return unit(image + twinkle[..., None])


def lava(rng: Generator, size: int) -> Array:
    """Black crust broken into plates, with glowing orange cracks between them."""
    cells = voronoi(rng, int(rng.integers(10, 50)), size, rng.uniform(0, 0.4))
    wobble = (fbm(rng, size, 5, 1.5) - 0.5) * rng.uniform(3, 8)
    glow = np.exp(-np.clip(cells.border + wobble, 0, None) / rng.uniform(1.2, 3.5))
    pools = np.clip((fbm(rng, size, 3, 1.8) - rng.uniform(0.65, 0.85)) * 6, 0, 1)
    heat = np.clip(np.maximum(glow, pools) * rng.uniform(0.75, 1.05), 0, 1)
    molten = ramp(heat, palette(rng, [(0.1, 0, 0), (0.6, 0.06, 0), (1, 0.35, 0), (1, 0.75, 0.15)], 0.02))
    crust = jitter(rng, (0.16, 0.13, 0.12), 0.02) * (0.4 + 1.1 * fbm(rng, size, 14, 0.9))[..., None]
    share = np.clip(heat * 2.2, 0, 1)[..., None]
    return unit(molten * share + crust * (1 - share))


def snow(rng: Generator, size: int) -> Array:
    """Soft white drifts with pale blue shadows and sparkling grains."""
    drifts = fbm(rng, size, rng.uniform(1.5, 4), 2.2, (1, rng.uniform(1, 2.5)))
    slope = drifts - np.roll(drifts, (-2, -2), (0, 1))
    shade = np.clip(0.62 + rng.uniform(5, 11) * slope, 0, 1)
    image = ramp(shade, palette(rng, [(0.62, 0.72, 0.86), (0.86, 0.91, 0.97), (0.99, 0.99, 1)], 0.015))
    grains = (rng.random((size, size)) > 0.985) * rng.uniform(0.1, 0.5)
    rough = 0.07 * (fbm(rng, size, 30, 0.4) - 0.5)
    return unit(image + (blur(grains.astype(np.float32), 0.5) + rough)[..., None])


def moss(rng: Generator, size: int) -> Array:
    """Cushions of deep green moss with a fine bright pile."""
    cells = voronoi(rng, int(rng.integers(20, 90)), size)
    cushion = np.clip(1.1 - cells.nearest / (size / len(cells.seeds) ** 0.5), 0, 1) ** 0.6
    pile = fbm(rng, size, rng.uniform(20, 34), 0.5)
    tone = np.clip(0.45 * cushion + 0.6 * pile - 0.1 + 0.2 * (fbm(rng, size, 3, 1.8) - 0.5), 0, 1)
    return ramp(
        tone, palette(rng, [(0.03, 0.07, 0.01), (0.15, 0.26, 0.04), (0.36, 0.47, 0.1), (0.66, 0.7, 0.25)], 0.02)
    )


def lightning(rng: Generator, size: int) -> Array:
    """White branching bolts with a violet glow in a dark stormy sky."""
    sky = 0.1 + 0.3 * fbm(rng, size, 2, 1.9)
    image = ramp(sky, palette(rng, [(0.01, 0.01, 0.06), (0.1, 0.09, 0.25), (0.35, 0.33, 0.6)], 0.02))
    bolts = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(2, 6)):
        _bolt(rng, bolts, rng.uniform(0, size), 0, rng.uniform(-0.5, 0.5), size)
    glow = blur(bolts, 1.0) * 1.5 + blur(bolts, 4.0) * 2.5 + blur(bolts, 11.0) * 3
    return unit(image + glow[..., None] * np.array([0.75, 0.7, 1.0]) + 0.8 * blur(bolts, 0.6)[..., None])


def _bolt(rng: Generator, canvas: Array, x: float, y: float, lean: float, length: float) -> None:
    """Draw a jagged line downwards that forks now and then."""
    while y < len(canvas) and length > 0:
        step = rng.uniform(2, 6)
        drift = rng.normal(lean, 1.0) * step
        for share in np.linspace(0, 1, 8):
            row, column = int(y + share * step), int(x + share * drift)
            if 0 <= row < len(canvas) and 0 <= column < len(canvas):
                canvas[row, column] = 1
        x, y, length = x + drift, y + step, length - step
        if rng.random() < 0.06 and length > 20:
            _bolt(rng, canvas, x, y, rng.normal(0, 1.2), length * rng.uniform(0.2, 0.5))


def smoke(rng: Generator, size: int) -> Array:
    """Curling plumes of gray smoke on a dark ground."""
    push = (fbm(rng, size, 2, 2.2) - 0.5) * size * rng.uniform(0.2, 0.5)
    sway = (fbm(rng, size, 2, 2.2) - 0.5) * size * rng.uniform(0.2, 0.5)
    plume = warp(fbm(rng, size, rng.uniform(2, 4), 1.8, (1.8, 1)), push, sway)
    wisps = 1 - np.abs(2 * warp(fbm(rng, size, 3, 2.0, (1.5, 1)), sway, push) - 1)
    tone = np.clip(1.3 * (0.55 * plume + 0.45 * wisps) - rng.uniform(0.25, 0.45), 0, 1)
    return ramp(
        tone, palette(rng, [(0.05, 0.05, 0.06), (0.35, 0.35, 0.37), (0.65, 0.65, 0.67), (0.92, 0.92, 0.93)], 0.01)
    )


def aurora(rng: Generator, size: int) -> Array:
    """Curtains of green and violet light over a starry night."""
    y, _x = axes(size)
    light, hue = np.zeros((size, size)), np.zeros((size, size))
    for _ in range(rng.integers(2, 5)):
        fold = rng.uniform(0.35, 0.8) + 0.45 * (fbm(rng, size, 1.5, 2.4)[size // 2] - 0.5)[None]
        height = fold - y
        curtain = np.where(height > 0, np.exp(-height * rng.uniform(3, 7)), np.exp(height * 45))
        rays = 0.45 + 0.75 * fbm(rng, size, 12, 1.0, (20, 1))
        light, hue = np.maximum(light, curtain * rays), np.maximum(hue, np.clip(height, 0, 1))
    sky = np.array([0.02, 0.03, 0.11]) * (1 + y[..., None])
    stars = (rng.random((size, size)) > 0.994)[..., None] * rng.uniform(0.3, 0.9, (size, size, 1))
    return unit(sky + stars + hsv(rng.uniform(0.36, 0.44) + 0.5 * hue, 0.8, 1.0) * np.clip(light, 0, 1)[..., None])


def sunset(rng: Generator, size: int) -> Array:
    """An evening sky: violet above orange above yellow, streaked with lit clouds, a dark ground at times."""
    y, _ = axes(size)
    bands = y * rng.uniform(0.8, 1.2) + 0.12 * (fbm(rng, size, 2, 2.2, (1, 4)) - 0.5)
    colors = [(0.2, 0.12, 0.36), (0.55, 0.22, 0.42), (0.9, 0.38, 0.27), (0.99, 0.66, 0.25), (1, 0.88, 0.5)]
    image = ramp(np.clip(bands, 0, 1), palette(rng, colors, 0.03))
    streaks = np.clip((fbm(rng, size, 4, 1.7, (1, 5)) - 0.55) * 3, 0, 1)[..., None]
    image = image * (1 - 0.75 * streaks) + 0.75 * streaks * jitter(rng, (0.75, 0.25, 0.3), 0.06)
    if rng.random() < 0.4:
        image[y > rng.uniform(0.75, 0.95) + 0.06 * fbm(rng, size, 3, 1.8)[0]] *= 0.12
    return unit(image)


def bubbles(rng: Generator, size: int) -> Array:
    """Soap bubbles: overlapping clear circles with bright rims, highlights and rainbow films."""
    image = np.broadcast_to(jitter(rng, (0.35, 0.55, 0.75), 0.15), (size, size, 3)) * (
        0.6 + 0.6 * fbm(rng, size, 1.5, 2.2)[..., None]
    )
    y, x = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(rng.integers(10, 40)):
        cy, cx, radius = *rng.uniform(0, size, 2), rng.uniform(0.03, 0.17) * size
        r = np.hypot(y - cy, x - cx) / radius
        rim = np.exp(-(((r - 0.93) / 0.09) ** 2))[..., None]
        film = hsv(rng.random() + 0.6 * (y - cy) / radius * 0.3 + 0.3 * r, 0.55, 1.0)
        spot = np.exp(-((np.hypot(y - cy + 0.4 * radius, x - cx + 0.4 * radius) / (0.16 * radius)) ** 2))[..., None]
        inside = np.clip((1 - r) * radius, 0, 1)[..., None]
        image = (
            image * (1 - 0.15 * inside) + 0.2 * inside * film * r[..., None].clip(0, 1) + 0.75 * rim * film + 0.8 * spot
        )
    return unit(image)
