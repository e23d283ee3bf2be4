"""Draws pictures of one style together: the colors of each move toward those that all have in common. No PyTorch here.

A style gives photos one look, but a dark photo is still drawn darker, and a red one redder. Every picture gets one map
of its colors, the same for all of its pixels, so that nothing moves and no edge appears.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Picture

Doubles = NDArray[np.float64]

_STRIP_PIXELS = 2**19
_LARGEST_GAIN = 2.0  # of contrast in any direction of colors: a flat picture would show its noise
_SMALLEST_VARIANCE = 1.0  # of values from 0 to 255


class Colors(NamedTuple):
    """Mean (3,) and covariance (3, 3) of the colors of a picture, from 0 to 255."""

    mean: Doubles
    covariance: Doubles


class Harmony(NamedTuple):
    """How pictures are drawn together.

    Attributes
    ----------
    common
        Colors that they have in common.
    share
        0 changes nothing; 1 gives every picture the common mean and, within bounds, the common covariance.
    """

    common: Colors
    share: float


def colors_of(picture: Picture) -> Colors:
    """Return the colors of a picture, without pixels that are fully transparent unless all are."""
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for strip in _strips(picture):
        pixels = _shown(picture, strip).astype(np.float64)
        count += len(pixels)
        total += pixels.sum(axis=0)
        products += pixels.T @ pixels
    if not count:
        return colors_of(Picture(picture.rgb))
    mean = total / count
    return Colors(mean, products / count - np.outer(mean, mean))


def common_colors(pictures: Sequence[Colors]) -> Colors:
    """Return what several pictures have in common: the mean of their means, and of the roots of their covariances."""
    root = np.mean([_power(colors.covariance, 0.5) for colors in pictures], axis=0)
    return Colors(np.mean([colors.mean for colors in pictures], axis=0), root @ root)


def harmonized(picture: Picture, harmony: Harmony) -> Picture:
    """Return a picture whose colors are moved toward common ones; its alpha stays.

    The map is the linear one that moves colors least (Pitie & Kokaram, CVMP 2007: the linear
    Monge-Kantorovitch mapping), its gains within 1/2 and 2.
    """
    common, share = harmony
    if share == 0:
        return picture
    own = colors_of(picture)
    gains = share * _gains(own.covariance, common.covariance) + (1 - share) * np.eye(3)
    offset = own.mean + share * (common.mean - own.mean) - own.mean @ gains
    moved = np.empty_like(picture.rgb)
    for strip in _strips(picture):
        values = picture.rgb[strip].astype(np.float32) @ gains.astype(np.float32) + offset.astype(np.float32)
        moved[strip] = np.rint(np.clip(values, 0, 255))
    return Picture(moved, picture.alpha)


def _gains(own: Doubles, wanted: Doubles) -> Doubles:
    """Return the symmetric matrix that takes colors of one covariance to another, within bounds."""
    root, inverse = _power(own, 0.5), _power(own, -0.5)
    exact = inverse @ _power(root @ wanted @ root, 0.5) @ inverse
    values, axes = np.linalg.eigh(exact)
    bounded: Doubles = (axes * np.clip(values, 1 / _LARGEST_GAIN, _LARGEST_GAIN)) @ axes.T
    return bounded


def _power(covariance: Doubles, exponent: float) -> Doubles:
    values, axes = np.linalg.eigh(covariance)
    power: Doubles = (axes * np.maximum(values, _SMALLEST_VARIANCE) ** exponent) @ axes.T
    return power


def _strips(picture: Picture) -> Iterator[slice]:
    step = max(1, _STRIP_PIXELS // picture.width)
    return (slice(top, top + step) for top in range(0, picture.height, step))


def _shown(picture: Picture, strip: slice) -> NDArray[np.uint8]:
    """Return the pixels (N, 3) of a strip that are not fully transparent."""
    pixels: NDArray[np.uint8] = picture.rgb[strip].reshape(-1, 3)
    return pixels if picture.alpha is None else pixels[picture.alpha[strip].ravel() > 0]
