"""Building blocks of the generators: fractal noise, color ramps, cells, edges. Pure functions of their generator.

Images are float32 (size, size, 3) in [0, 1], fields float32 (size, size). All randomness comes from the
`numpy.random.Generator` that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Array = NDArray[np.floating[Any]]
Color = Sequence[float]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Cells(NamedTuple):
    """Voronoi cells: distances in pixels to the nearest and second nearest seed, cell numbers, seeds (y, x)."""

    nearest: Array
    second: Array
    owner: NDArray[np.int64]
    seeds: Array

    @property
    def border(self) -> Array:
        """How far each pixel is from the border of its cell, in pixels (approximately)."""
        return (self.second - self.nearest) / 2


def fbm(
    rng: Generator, size: int, base: float = 4.0, slope: float = 1.8, stretch: tuple[float, float] = (1.0, 1.0)
) -> Array:
    """Draw fractal noise, uniformly distributed over [0, 1]: white noise with a power-law spectrum.

    Parameters
    ----------
    rng
        Source of randomness.
    size
        Side in pixels.
    base
        Lowest frequency in waves per side.
    slope
        Exponent of the amplitude; larger is smoother.
    stretch
        Factors by which shapes are longer along y and x.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    fy = np.fft.fftfreq(size, 1 / size)[:, None] * stretch[0]
    fx = np.fft.rfftfreq(size, 1 / size)[None] * stretch[1]
    frequency = np.hypot(fy, fx)
    with np.errstate(divide="ignore"):
        amplitude = np.where(frequency < base * 0.5, 0.0, np.maximum(frequency, base) ** -slope)
    field = np.fft.irfft2(spectrum * amplitude, (size, size))
    return equalize(field)


def equalize(field: ArrayLike) -> Array:
    """Map a normal field to a uniform one over [0, 1] (by a logistic curve close to the normal distribution)."""
    field = np.asarray(field)
    deviation = float(field.std()) or 1.0
    return np.asarray(1 / (1 + np.exp(-1.7 * (field - field.mean()) / deviation)), np.float32)


def unit(values: ArrayLike) -> Array:
    """Clamp to [0, 1], as float32."""
    return np.clip(np.asarray(values, np.float32), 0, 1)


def stretch_to_unit(field: Array) -> Array:
    """Stretch a field linearly to [0, 1]; a flat one becomes 0."""
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6), np.float32)


def ramp(field: Array, colors: Sequence[Color]) -> Array:
    """Color a field in [0, 1] along a piecewise linear ramp."""
    table = np.asarray(colors, np.float32)
    stops = np.linspace(0, 1, len(table))
    return np.stack([np.interp(field, stops, table[:, i]) for i in range(3)], axis=-1).astype(np.float32)


def jitter(rng: Generator, color: Color, amount: float = 0.06) -> Array:
    """Move a color a little, staying in [0, 1]."""
    return np.clip(np.asarray(color) + rng.normal(0, amount, 3), 0, 1).astype(np.float32)


def palette(rng: Generator, colors: Sequence[Color], amount: float = 0.05) -> list[Color]:
    """Jitter every color of a ramp, and the whole ramp's brightness with it."""
    gain = rng.uniform(0.88, 1.1)
    return [np.clip(jitter(rng, color, amount) * gain, 0, 1).tolist() for color in colors]


def hsv(hue: ArrayLike, saturation: ArrayLike, value: ArrayLike) -> Array:
    """Colors from hue (turns, any real), saturation and value: broadcast shape (..., 3)."""
    hue, saturation, value = np.broadcast_arrays(np.asarray(hue), np.asarray(saturation), np.asarray(value))
    phase = (hue[..., None] * 6 + np.array([0, 4, 2])) % 6
    wheel = np.clip(np.abs(phase - 3) - 1, 0, 1)
    return np.asarray(value[..., None] * (1 - saturation[..., None] * (1 - wheel)), np.float32)


def voronoi(rng: Generator, count: int, size: int, regular: float = 0.0) -> Cells:
    """Cells around `count` random seeds; `regular` 0 is uniform, 1 a square lattice."""
    seeds = rng.random((count, 2)) * size
    if regular:
        side = max(2, round(count**0.5))
        y, x = np.mgrid[:side, :side]
        lattice = (np.stack([y, x], -1).reshape(-1, 2) + 0.5) * (size / side)
        seeds = lattice + rng.normal(0, (1 - regular) * 0.45 * size / side, lattice.shape)
    distances, indices = cKDTree(seeds).query(np.indices((size, size)).reshape(2, -1).T, k=2)
    near, far = distances.astype(np.float32).reshape(size, size, 2).transpose(2, 0, 1)
    return Cells(near, far, indices[:, 0].reshape(size, size), seeds.astype(np.float32))


def cell_means(photo: Array, cells: Cells) -> Array:
    """Mean color of a photo in every cell: (cells, 3)."""
    flat = cells.owner.ravel()
    count = np.maximum(np.bincount(flat, minlength=len(cells.seeds)), 1)
    sums = [np.bincount(flat, photo[..., i].ravel(), len(cells.seeds)) for i in range(3)]
    return (np.stack(sums, axis=-1) / count[:, None]).astype(np.float32)


def vivid(colors: Array, saturation: float) -> Array:
    """Multiply the distance of colors from their gray."""
    gray = luminance(colors)[..., None]
    return unit(gray + (colors - gray) * saturation)


def axes(size: int) -> tuple[Array, Array]:
    """Coordinates (y, x) of all pixels, 0 to 1."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    return y, x


def turned_axes(rng: Generator, size: int, most: float = np.pi) -> tuple[Array, Array]:
    """Coordinates (y, x) turned by a random angle of up to `most` radians either way."""
    y, x = axes(size)
    angle = rng.uniform(-most, most)
    return y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)


def luminance(image: Array) -> Array:
    """Luma of an image (ITU-R BT.601)."""
    return np.asarray(image @ _LUMA, np.float32)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur of a field or of each channel of an image."""
    sigmas = (sigma, sigma) + (0,) * (image.ndim - 2)
    return np.asarray(ndimage.gaussian_filter(image, sigmas, truncate=3.0), np.float32)


def edges(image: Array, sigma: float = 1.0) -> Array:
    """Edge strength of an image, 0 to 1; the strongest few per cent saturate."""
    gray = blur(luminance(image) if image.ndim == 3 else image, sigma)
    strength = np.hypot(ndimage.sobel(gray, 0), ndimage.sobel(gray, 1))
    return unit(strength / max(float(np.percentile(strength, 97)), 0.08))


def warp(image: Array, dy: Array, dx: Array) -> Array:
    """Sample an image at each pixel's place displaced by (dy, dx) pixels, mirrored at the border."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    places = [y + dy, x + dx]
    if image.ndim == 2:
        return np.asarray(ndimage.map_coordinates(image, places, order=1, mode="mirror"), np.float32)
    channels = [ndimage.map_coordinates(image[..., i], places, order=1, mode="mirror") for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def line_noise(rng: Generator, size: int, flow: Array, length: int = 9, grain: float = 1.0) -> Array:
    """Smear white noise along a flow of angles (radians): brush marks, uniform over [0, 1]."""
    noise = blur(rng.standard_normal((size, size)).astype(np.float32), grain)
    step_y, step_x = np.sin(flow), np.cos(flow)
    total = noise.copy()
    for distance in range(2, length + 1, 2):
        total += warp(noise, step_y * distance, step_x * distance) + warp(noise, -step_y * distance, -step_x * distance)
    return equalize(total)


def flow_of(image: Array, sigma: float = 3.0) -> Array:
    """Angles (radians) along the edges of an image, smoothed: the way a brush would follow its shapes."""
    gray = blur(luminance(image), 1.5)
    gy, gx = ndimage.sobel(gray, 0), ndimage.sobel(gray, 1)
    double = np.arctan2(blur(2 * gx * gy, sigma), blur(gx * gx - gy * gy, sigma))
    return np.asarray(double / 2 + np.pi / 2, np.float32)
