"""Parts of a network on a large image, band of rows by band of rows: the same function in a fraction of the memory.

A convolution sees a few rows, so a band of its output is computed from the same rows of its input and a margin. An
instance normalization sees the whole image, but only through the mean and the deviation of each channel: they are
gathered while the values before it are computed, and applied by whatever reads these values. So of all that a part of
StyleNet computes, only the values before its two normalizations exist as a whole, and only while the part is computed.
Backward they are computed again and replaced by their gradients, from the last normalization to the first.

All else is as large as a band: what autograd keeps, padded copies, and copies in the layout that a convolution prefers.
The arithmetic is that of a part whose activations are not kept, and that of the margins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipstyler.band_norm import Statistics, measured, replace_by_slopes
from clipstyler.band_slopes import Slopes
from clipstyler.bands import EVEN, Band, Overlapping, assembled, divided


@dataclass(frozen=True)
class Part:
    """A residual block with what is local before and after it; calling it computes it as a whole.

    Attributes
    ----------
    block
        Two times convolution, instance normalization and ReLU (`body`), beside a 1x1 convolution (`skip`). Convolutions
        of `body` see one row on either side, whatever their padding is.
    before
        Maps the inputs to the block's.
    after
        Maps the block's output to that of the part; linear, pixel by pixel.
    scales
        Of each input: by how much its sides are smaller than the output's, 1 or 2.
    modules
        Those of the block and of `before` with parameters.
    head
        Those of `after` with parameters.
    """

    block: Any
    before: Callable[..., Tensor]
    after: Callable[[Tensor], Tensor]
    scales: tuple[int, ...]
    modules: tuple[nn.Module, ...]
    head: tuple[nn.Module, ...] = ()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Compute the part as a whole."""
        return self.after(self.block(self.before(*inputs)))

    def pixels(self, *inputs: Tensor) -> int:
        """Return the number of pixels of the output."""
        height, width = inputs[0].shape[-2:]
        return height * width * self.scales[0] ** 2

    def parameters(self) -> list[nn.Parameter]:
        """Return those of all modules."""
        return [parameter for module in (*self.modules, *self.head) for parameter in module.parameters()]


def in_bands(part: Part, *inputs: Tensor) -> Tensor:
    """Compute a part band by band, equal to calling it within rounding, gradients included.

    Parameters
    ----------
    part
        What is computed.
    *inputs
        Float32, (B, C, H / scale, W / scale) with even H.
    """
    out: Tensor = _InBands.apply(part, len(inputs), *inputs, *part.parameters())
    return out


def convolved_in_bands(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Compute a convolution band by band, equal to calling it within rounding, gradients included.

    Parameters
    ----------
    layer
        With a stride of 1 or 2, whose outputs are centered at most one and a half rows from what they see.
    x
        Float32, (B, C, H, W).
    """
    out: Tensor = _Convolved.apply(layer, x, *layer.parameters())
    return out


class _InBands(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Part, count: int, *tensors: Tensor) -> Tensor:
        inputs = tensors[:count]
        work = _Work(part, inputs)
        values, first = measured(work.bands, work.first_rows, inputs[0])
        values, second = measured(work.narrow_bands, work.second_rows(values, first), inputs[0])
        ctx.part, ctx.first, ctx.second = part, first, second
        ctx.save_for_backward(*inputs)
        return assembled(work.bands, lambda band: part.after(work.block_rows(band, values, second)), inputs[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        part, inputs = ctx.part, ctx.saved_tensors
        work, slopes = _Work(part, inputs), Slopes(part.parameters())
        to_first = work.add_body_slopes(slopes, ctx.first, ctx.second, gradient)
        to_inputs = work.add_entry_slopes(slopes, to_first, gradient, ctx.needs_input_grad[2:])
        return None, None, *to_inputs, *slopes.totals


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer: nn.Conv2d, x: Tensor, *_parameters: Tensor) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        stride = layer.stride[0]
        return assembled(_bands_of(x, layer), lambda band: band.core(layer(band.with_margin(x)), stride), x, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,), (x,), layer = gradients, ctx.saved_tensors, ctx.layer
        stride = layer.stride[0]
        slopes, to_x = Slopes(layer.parameters()), Overlapping(torch.empty_like(x))
        for band in _bands_of(x, layer):
            to_x.add(band, slopes.of_convolution(layer, band, band.with_margin(x), band.of(gradient, stride)))
        return None, to_x.total, *slopes.totals


def _bands_of(x: Tensor, layer: nn.Conv2d) -> list[Band]:
    height, width = x.shape[-2:]
    return divided(height, width, max(layer.in_channels, layer.out_channels), EVEN)


class _Work:
    """A part with its whole inputs."""

    def __init__(self, part: Part, inputs: Sequence[Tensor]) -> None:
        self.part = part
        self.inputs = inputs
        self.first, _, self.second, _ = part.block.body
        height, width = (side * part.scales[0] for side in inputs[0].shape[-2:])
        channels = max(sum(value.shape[1] for value in inputs), self.first.out_channels)
        self.bands = divided(height, width, channels, max(part.scales))
        self.narrow_bands = divided(height, width, channels, 1)

    def entered(self, band: Band) -> Tensor:
        """Return what the block sees of a band and its margin."""
        cut = (band.with_margin(x, scale) for x, scale in zip(self.inputs, self.part.scales, strict=True))
        return self.part.before(*cut)

    def first_rows(self, band: Band) -> Tensor:
        """Return values before the first normalization."""
        return band.core(self.first(self.entered(band)))

    def second_rows(self, values: Tensor, statistics: Statistics) -> Callable[[Band], Tensor]:
        """Return what finds the values before the second normalization, given all of those before the first."""
        return lambda band: band.core(self.second(statistics.normalized(band.with_margin(values)).relu_()))

    def block_rows(self, band: Band, values: Tensor, statistics: Statistics) -> Tensor:
        """Return the block's output, given all values before the second normalization."""
        body = statistics.normalized(band.of(values)).relu_()
        return body.add_(self.part.block.skip(band.core(self.entered(band))))

    def _block_slope(self, band: Band, gradient: Tensor) -> Tensor:
        """Return the gradient of the block's output, given all of that of the part's."""
        rows = band.of(gradient)
        if not self.part.head:
            return rows
        batch, _, height, width = rows.shape
        anything = rows.new_zeros(batch, self.second.out_channels, height, width, requires_grad=True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.part.after(anything), anything, rows)
        return slope

    def add_body_slopes(self, slopes: Slopes, first: Statistics, second: Statistics, gradient: Tensor) -> Tensor:
        """Add the gradients of the head and of the second convolution; return that of the first convolution's output.

        What is computed again is replaced by its gradient, so that two images exist as a whole.
        """
        values = assembled(self.bands, self.first_rows, self.inputs[0])
        deeper = assembled(self.narrow_bands, self.second_rows(values, first), self.inputs[0])
        self._add_head_slopes(slopes, deeper, second, gradient)
        replace_by_slopes(deeper, second, self.bands, lambda band: self._block_slope(band, gradient))
        to_normalized = Overlapping(deeper)
        for band in self.narrow_bands:
            rows = first.normalized(band.with_margin(values)).relu_()
            to_normalized.add(band, slopes.of_convolution(self.second, band, rows, band.of(deeper)))
        replace_by_slopes(values, first, self.bands, lambda band: band.of(deeper))
        return values

    def _add_head_slopes(self, slopes: Slopes, values: Tensor, statistics: Statistics, gradient: Tensor) -> None:
        """Add the gradients of what follows the block."""
        wanted = slopes.wanted_of(self.part.head)
        if not wanted:
            return
        for band in self.bands:
            rows = self.block_rows(band, values, statistics)
            with torch.enable_grad():
                out = self.part.after(rows)
            slopes.differentiate(wanted, (out,), (band.of(gradient),))

    def add_entry_slopes(
        self, slopes: Slopes, to_first: Tensor, gradient: Tensor, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Add the gradients of the first convolution, of what precedes it, and of the skip; return the inputs'.

        One of these replaces that of the first convolution's output.
        """
        body = set(self.part.block.body.parameters())
        parameters = [parameter for parameter in slopes.wanted_of(self.part.modules) if parameter not in body]
        totals = self._totals(to_first, wanted)
        for band in self.bands:
            with torch.enable_grad():
                cut = [
                    band.with_margin(x, scale).detach().requires_grad_(total is not None)
                    for x, scale, total in zip(self.inputs, self.part.scales, totals, strict=True)
                ]
                x = self.part.before(*cut)
                out = (x, self.part.block.skip(band.core(x)))
            to_x = slopes.of_convolution(self.first, band, x.detach(), band.of(to_first))
            pulls = (to_x, self._block_slope(band, gradient))
            found = slopes.differentiate(parameters, out, pulls, cut)
            for total, slope, scale in zip(totals, found, self.part.scales, strict=True):
                if total is not None and slope is not None:
                    total.add(band, slope, scale)
        return [None if total is None else total.total for total in totals]

    def _totals(self, spare: Tensor | None, wanted: Sequence[bool]) -> list[Overlapping | None]:
        """Return what the gradients of the inputs are added up in; one takes spare memory if it fits."""
        totals: list[Overlapping | None] = []
        for x, want in zip(self.inputs, wanted, strict=False):
            if want and spare is not None and (x.shape, x.stride()) == (spare.shape, spare.stride()):
                totals.append(Overlapping(spare))
                spare = None
            else:
                totals.append(Overlapping(torch.empty_like(x)) if want else None)
        return totals
