"""Instance normalization of an image that is computed in bands of rows: its statistics, and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipstyler.bands import Band, assembled
from clipstyler.interleaved_norm import NORM_EPSILON, channel_means


class Statistics(NamedTuple):
    """Of each channel of each image, (B, C, 1, 1): its mean, and the inverse of its deviation."""

    mean: Tensor
    scale: Tensor

    def normalized(self, values: Tensor) -> Tensor:
        """Normalize values."""
        return (values - self.mean).mul_(self.scale)


def measured(bands: Sequence[Band], compute: Callable[[Band], Tensor], like: Tensor) -> tuple[Tensor, Statistics]:
    """Compute all bands, and their statistics."""
    moments = _Moments()

    def measure(band: Band) -> Tensor:
        rows = compute(band)
        moments.add(rows)
        return rows

    return assembled(bands, measure, like), moments.statistics()


class _Moments:
    """Mean and sum of squared distances from it, merged band by band in double precision (Chan et al., 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._dtype = torch.float32
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, values: Tensor) -> None:
        """Add a band, (B, C, H, W)."""
        count = values.shape[-2] * values.shape[-1]
        self._dtype = values.dtype
        mean = channel_means(values)
        variance = channel_means((values - mean).square_())
        total = self._count + count
        distance = mean.double() - self._mean
        self._mean = self._mean + distance * (count / total)
        self._squares = self._squares + variance.double() * count + distance.square() * (self._count * count / total)
        self._count = total

    def statistics(self) -> Statistics:
        """Return the statistics of everything that was added, in its precision."""
        scale = (self._squares / self._count + NORM_EPSILON).rsqrt()
        return Statistics(self._mean.to(self._dtype), scale.to(self._dtype))


def replace_by_slopes(
    values: Tensor, statistics: Statistics, bands: Sequence[Band], gradient: Callable[[Band], Tensor]
) -> None:
    """Replace values before a normalization and a ReLU by their gradients, given those of what follows.

    With n the normalized values and g the rectified gradient, they are (g - mean(g) - n mean(g n)) / deviation.
    """
    mean: Any = 0.0
    along: Any = 0.0
    for band in bands:
        normalized = band.of(values).sub_(statistics.mean).mul_(statistics.scale)
        slope = torch.ops.aten.threshold_backward(gradient(band), normalized, 0)
        share = (band.bottom - band.top) / bands[-1].bottom
        mean = mean + channel_means(slope).double() * share
        along = along + channel_means(slope.mul_(normalized)).double() * share
    mean, along = mean.to(values.dtype), along.to(values.dtype)
    for band in bands:
        normalized = band.of(values)
        slope = torch.ops.aten.threshold_backward(gradient(band), normalized, 0)
        normalized.mul_(-along).add_(slope.sub_(mean)).mul_(statistics.scale)
