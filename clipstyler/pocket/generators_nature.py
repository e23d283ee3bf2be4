"""Textures of nature: fire, water, ice, grass, clouds, sand, galaxies, autumn leaves. See `noise` for the types."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from clipstyler.pocket.noise import Array, axes, blur, fbm, hsv, palette, ramp, unit, voronoi, warp


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


def clouds(rng: Generator, size: int) -> Array:
    """White billows with grey undersides on blue sky."""
    billow = fbm(rng, size, rng.uniform(1.5, 3), 1.9, (1, 1.5))
    cover = np.clip((billow - rng.uniform(0.25, 0.5)) * 3.2, 0, 1)
    shade = np.clip(0.85 + 4 * (billow - np.roll(billow, -max(2, size // 30), 0)), 0.6, 1)
    y, _ = axes(size)
    sky = ramp(y, palette(rng, [(0.16, 0.38, 0.75), (0.5, 0.72, 0.93)], 0.03))
    return unit(sky * (1 - cover[..., None]) + (shade * cover)[..., None])


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


def autumn(rng: Generator, size: int) -> Array:
    """Overlapping fallen leaves in red, orange, yellow and brown, with veins."""
    cells = voronoi(rng, int(rng.integers(25, 110)), size)
    hue = rng.uniform(0.0, 0.14, len(cells.seeds))
    colours = hsv(hue, rng.uniform(0.7, 1, len(hue)), rng.uniform(0.4, 1, len(hue)))
    angle = rng.uniform(0, np.pi, len(hue))[cells.owner]
    y, x = np.mgrid[:size, :size]
    centre = cells.seeds[cells.owner]
    along = (x - centre[..., 1]) * np.cos(angle) + (y - centre[..., 0]) * np.sin(angle)
    across = (y - centre[..., 0]) * np.cos(angle) - (x - centre[..., 1]) * np.sin(angle)
    rib = 0.35 * np.exp(-np.abs(across) / 0.8) + 0.2 * (np.sin((along + np.abs(across)) * 1.1) > 0.8)
    shade = np.clip(cells.border / 2.5, 0.35, 1) * (0.75 + 0.4 * fbm(rng, size, 8, 1.2)) * (1 - rib)
    return unit(colours[cells.owner] * shade[..., None])
