"""What the judge draws with: clouds of noise, smears, reliefs, ramps, cells.

Pictures are float32 (S, S, 3) in [0, 1], fields float32 (S, S); all randomness comes from the generator handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.floating[Any]]
Stops = Sequence[tuple[float, float, float]]
"""Colors in [0, 255], evenly spaced over [0, 1]."""

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def unit(values: Array) -> Array:
    """Clip to [0, 1] as float32."""
    return np.clip(values, 0, 1).astype(np.float32)


def spread(values: Array) -> Array:
    """Stretch so that the values reach from 0 to 1 but for a percent at either end."""
    low, high = np.percentile(values, (1, 99))
    return unit((values - low) / max(high - low, 1e-6))


def luminance(picture: Array) -> Array:
    """Relative luminance, (S, S)."""
    return np.asarray(picture @ _LUMA, np.float32)


def soft(values: Array, sigma: float) -> Array:
    """Gaussian blur over the first two axes, mirrored at the border."""
    sigmas = (sigma, sigma) + (0,) * (values.ndim - 2)
    return np.asarray(ndimage.gaussian_filter(values, sigmas, mode="reflect"), np.float32)


def enlarged(grid: Array, size: int) -> Array:
    """Bicubic enlargement of a field to (size, size)."""
    image = Image.fromarray(np.asarray(grid, np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), np.float32)


def clouds(rng: Generator, size: int, first: int = 3, rough: float = 0.55, stretch: float = 1.0) -> Array:
    """Value noise: random grids, each twice as fine and `rough` as strong as the one before; stretched along y."""
    total: Array = np.zeros((size, size))
    weight, cells = 1.0, first
    while cells < size:
        grid = rng.random((max(2, int(cells / stretch)), cells + 1), np.float32)
        total = total + weight * enlarged(grid, size)
        cells, weight = cells * 2, weight * rough
    return spread(total)


def moved(values: Array, down: Array, right: Array) -> Array:
    """Look every pixel up `down` and `right` pixels away, mirrored at the border."""
    rows, columns = np.indices(values.shape[:2], np.float32)
    at = [rows + down, columns + right]
    if values.ndim == 2:
        return np.asarray(ndimage.map_coordinates(values, at, order=1, mode="reflect"), np.float32)
    planes = [ndimage.map_coordinates(values[..., c], at, order=1, mode="reflect") for c in range(values.shape[2])]
    return np.stack(planes, axis=2).astype(np.float32)


def smeared(values: Array, angle: Array, length: int) -> Array:
    """Average along the direction field `angle` (radians), `length` pixels to either side: brush strokes, fibres."""
    down, right = np.sin(angle), np.cos(angle)
    total: Array = values
    for step in range(1, length + 1):
        total = total + moved(values, step * down, step * right) + moved(values, -step * down, -step * right)
    return np.asarray(total / (2 * length + 1), np.float32)


def ramp(values: Array, stops: Stops) -> Array:
    """Map a field in [0, 1] to colors: (S, S, 3)."""
    at = np.linspace(0, 1, len(stops))
    planes = [np.interp(values, at, [stop[c] / 255 for stop in stops]) for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.float32)


def relief(height: Array, towards: float, strength: float) -> Array:
    """Light on a surface of this height from the direction `towards` (radians), around 0.5."""
    rows, columns = np.gradient(height)
    slope = strength * (np.sin(towards) * rows + np.cos(towards) * columns)
    return unit(0.5 + 0.5 * slope / np.sqrt(1 + slope**2))


def outlines(picture: Array, sigma: float) -> Array:
    """Strength of edges in [0, 1]: the gradient of the blurred luminance."""
    blurred = soft(luminance(picture) if picture.ndim == 3 else picture, sigma)
    return spread(np.hypot(ndimage.sobel(blurred, 0), ndimage.sobel(blurred, 1)))


def cells(rng: Generator, size: int, across: float) -> tuple[NDArray[np.int64], Array]:
    """Cells of jittered points, `across` to a side: their numbers, and the distance in pixels to their border."""
    step = size / across
    grid = np.stack(np.meshgrid(*[np.arange(-step, size + step, step)] * 2), -1).reshape(-1, 2)
    points = grid + rng.uniform(-0.48, 0.48, grid.shape) * step
    marks = np.ones((size, size), bool)
    inside = np.clip(points, 0, size - 1).astype(int)
    marks[inside[:, 0], inside[:, 1]] = False
    _, (rows, columns) = ndimage.distance_transform_edt(marks, return_indices=True)
    numbers = rows.astype(np.int64) * size + columns
    return numbers, to_border(numbers)


def to_border(numbers: NDArray[np.int64]) -> Array:
    """Distance in pixels from the border between regions of different numbers."""
    same = np.ones(numbers.shape, bool)
    same[:-1] &= numbers[:-1] == numbers[1:]
    same[:, :-1] &= numbers[:, :-1] == numbers[:, 1:]
    return np.asarray(ndimage.distance_transform_edt(same), np.float32)


def of_regions(numbers: NDArray[np.int64], picture: Array) -> Array:
    """Mean color of every region, (S, S, 3)."""
    _, index = np.unique(numbers, return_inverse=True)
    index = index.reshape(-1)
    count = np.bincount(index)
    planes = [np.bincount(index, picture[..., c].reshape(-1)) / count for c in range(3)]
    return np.stack(planes, -1)[index].reshape(picture.shape).astype(np.float32)


def saturated(picture: Array, factor: float) -> Array:
    """Move colors away from gray by a factor."""
    gray = luminance(picture)[..., None]
    return unit(gray + factor * (picture - gray))


def random_hues(rng: Generator, count: int, low: float = 0.5) -> Array:
    """Saturated colors, (count, 3), at least `low` bright."""
    hue = rng.random((count, 1)) * 6
    wheel = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    color = 1 - rng.uniform(0.75, 1, (count, 1)) * (1 - np.clip(wheel, 0, 1))
    return unit(color * rng.uniform(low, 1, (count, 1)))
