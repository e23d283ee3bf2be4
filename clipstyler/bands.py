"""Bands of rows of an image: where they lie, and how a whole image is put together from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EVEN = 2  # what heights and margins of bands are multiples of, as some images have half the size
_BAND_VALUES = 2**20  # of the largest map in a band, without the margin: 4 MiB


class Band(NamedTuple):
    """Rows of an image, and how many more are looked at above and below."""

    top: int
    bottom: int
    above: int
    below: int

    def of(self, whole: Tensor, scale: int = 1) -> Tensor:
        """Cut the band out of a whole image whose sides are smaller by a scale."""
        return whole[..., self.top // scale : -(-self.bottom // scale), :]

    def with_margin(self, whole: Tensor, scale: int = 1) -> Tensor:
        """Cut the band and its margin out of a whole image."""
        return whole[..., (self.top - self.above) // scale : -(-(self.bottom + self.below) // scale), :]

    def core(self, values: Tensor, scale: int = 1) -> Tensor:
        """Cut the margin off what was computed."""
        above = self.above // scale
        rows = -((self.top - self.bottom) // scale)  # rounded up
        return values[..., above : above + rows, :]


def divided(height: int, width: int, channels: int, margin: int) -> list[Band]:
    """Divide an image that has so many channels at once."""
    rows = max(EVEN, _BAND_VALUES // (channels * width) // EVEN * EVEN)
    ends = ((top, min(top + rows, height)) for top in range(0, height, rows))
    return [Band(top, bottom, min(margin, top), min(margin, height - bottom)) for top, bottom in ends]


def assembled(bands: Sequence[Band], compute: Callable[[Band], Tensor], like: Tensor, scale: int = 1) -> Tensor:
    """Compute all bands, in the layout of another image."""
    whole: Tensor | None = None
    for band in bands:
        rows = compute(band)
        if whole is None:
            whole = _empty(rows, -(-bands[-1].bottom // scale), like)
        band.of(whole, scale).copy_(rows)
    assert whole is not None
    return whole


def _empty(rows: Tensor, height: int, like: Tensor) -> Tensor:
    """Return memory for a whole image of which some rows are known."""
    batch, channels, _, width = rows.shape
    layout = torch.channels_last if like.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return torch.empty(batch, channels, height, width, dtype=rows.dtype, device=rows.device, memory_format=layout)


class Overlapping:
    """The gradient of a whole image, added up from those of bands with their margins, from the top to the bottom.

    Its memory may hold what bands are computed from: a band's rows are overwritten once the band is added.
    """

    def __init__(self, total: Tensor) -> None:
        self.total = total
        self._below: Tensor | None = None  # of the latest band: the rows of its margin

    def add(self, band: Band, slope: Tensor, scale: int = 1) -> None:
        """Add the gradient of the next band and its margin."""
        above, rows = band.above // scale, band.of(self.total, scale)
        end = above + rows.shape[-2]
        if above:
            band.with_margin(self.total, scale)[..., :above, :].add_(slope[..., :above, :])
        rows.copy_(slope[..., above:end, :])
        if self._below is not None:
            rows[..., : self._below.shape[-2], :].add_(self._below)
        self._below = slope[..., end:, :].clone() if end < slope.shape[-2] else None
