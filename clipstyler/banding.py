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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipstyler.interleaved_norm import NORM_EPSILON, channel_means

_BAND_VALUES = 2**20  # of the largest map in a band, without the margin: 4 MiB
_EVEN = 2  # what heights and margins of bands are multiples of, as some images have half the size


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


class _Band(NamedTuple):
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


def _bands(height: int, width: int, channels: int, margin: int) -> list[_Band]:
    """Divide an image that has so many channels at once."""
    rows = max(_EVEN, _BAND_VALUES // (channels * width) // _EVEN * _EVEN)
    ends = ((top, min(top + rows, height)) for top in range(0, height, rows))
    return [_Band(top, bottom, min(margin, top), min(margin, height - bottom)) for top, bottom in ends]


class _InBands(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Part, count: int, *tensors: Tensor) -> Tensor:
        inputs = tensors[:count]
        work = _Work(part, inputs)
        values, first = _measured(work.bands, work.first_rows, inputs[0])
        values, second = _measured(work.narrow_bands, work.second_rows(values, first), inputs[0])
        ctx.part, ctx.first, ctx.second = part, first, second
        ctx.save_for_backward(*inputs)
        return _assembled(work.bands, lambda band: part.after(work.block_rows(band, values, second)), inputs[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        part, inputs = ctx.part, ctx.saved_tensors
        work, slopes = _Work(part, inputs), _Slopes(part.parameters())
        to_first = work.add_body_slopes(slopes, ctx.first, ctx.second, gradient)
        to_inputs = work.add_entry_slopes(slopes, to_first, gradient, ctx.needs_input_grad[2:])
        return None, None, *to_inputs, *slopes.totals


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer: nn.Conv2d, x: Tensor, *_parameters: Tensor) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        stride = layer.stride[0]
        return _assembled(_bands_of(x, layer), lambda band: band.core(layer(band.with_margin(x)), stride), x, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,), (x,), layer = gradients, ctx.saved_tensors, ctx.layer
        stride = layer.stride[0]
        slopes, to_x = _Slopes(layer.parameters()), _Overlapping(torch.empty_like(x))
        for band in _bands_of(x, layer):
            to_x.add(band, slopes.of_convolution(layer, band, band.with_margin(x), band.of(gradient, stride)))
        return None, to_x.total, *slopes.totals


def _bands_of(x: Tensor, layer: nn.Conv2d) -> list[_Band]:
    height, width = x.shape[-2:]
    return _bands(height, width, max(layer.in_channels, layer.out_channels), _EVEN)


class _Statistics(NamedTuple):
    """Of each channel of each image, (B, C, 1, 1): its mean, and the inverse of its deviation."""

    mean: Tensor
    scale: Tensor

    def normalized(self, values: Tensor) -> Tensor:
        """Normalize values."""
        return (values - self.mean).mul_(self.scale)


class _Work:
    """A part with its whole inputs."""

    def __init__(self, part: Part, inputs: Sequence[Tensor]) -> None:
        self.part = part
        self.inputs = inputs
        self.first, _, self.second, _ = part.block.body
        height, width = (side * part.scales[0] for side in inputs[0].shape[-2:])
        channels = max(sum(value.shape[1] for value in inputs), self.first.out_channels)
        self.bands = _bands(height, width, channels, max(part.scales))
        self.narrow_bands = _bands(height, width, channels, 1)

    def entered(self, band: _Band) -> Tensor:
        """Return what the block sees of a band and its margin."""
        cut = (band.with_margin(x, scale) for x, scale in zip(self.inputs, self.part.scales, strict=True))
        return self.part.before(*cut)

    def first_rows(self, band: _Band) -> Tensor:
        """Return values before the first normalization."""
        return band.core(self.first(self.entered(band)))

    def second_rows(self, values: Tensor, statistics: _Statistics) -> Callable[[_Band], Tensor]:
        """Return what finds the values before the second normalization, given all of those before the first."""
        return lambda band: band.core(self.second(statistics.normalized(band.with_margin(values)).relu_()))

    def block_rows(self, band: _Band, values: Tensor, statistics: _Statistics) -> Tensor:
        """Return the block's output, given all values before the second normalization."""
        body = statistics.normalized(band.of(values)).relu_()
        return body.add_(self.part.block.skip(band.core(self.entered(band))))

    def _block_slope(self, band: _Band, gradient: Tensor) -> Tensor:
        """Return the gradient of the block's output, given all of that of the part's."""
        rows = band.of(gradient)
        if not self.part.head:
            return rows
        batch, _, height, width = rows.shape
        anything = rows.new_zeros(batch, self.second.out_channels, height, width, requires_grad=True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.part.after(anything), anything, rows)
        return slope

    def add_body_slopes(self, slopes: _Slopes, first: _Statistics, second: _Statistics, gradient: Tensor) -> Tensor:
        """Add the gradients of the head and of the second convolution; return that of the first convolution's output.

        What is computed again is replaced by its gradient, so that two images exist as a whole.
        """
        values = _assembled(self.bands, self.first_rows, self.inputs[0])
        deeper = _assembled(self.narrow_bands, self.second_rows(values, first), self.inputs[0])
        self._add_head_slopes(slopes, deeper, second, gradient)
        _replace_by_slopes(deeper, second, self.bands, lambda band: self._block_slope(band, gradient))
        to_normalized = _Overlapping(deeper)
        for band in self.narrow_bands:
            rows = first.normalized(band.with_margin(values)).relu_()
            to_normalized.add(band, slopes.of_convolution(self.second, band, rows, band.of(deeper)))
        _replace_by_slopes(values, first, self.bands, lambda band: band.of(deeper))
        return values

    def _add_head_slopes(self, slopes: _Slopes, values: Tensor, statistics: _Statistics, gradient: Tensor) -> None:
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
        self, slopes: _Slopes, to_first: Tensor, gradient: Tensor, wanted: Sequence[bool]
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

    def _totals(self, spare: Tensor | None, wanted: Sequence[bool]) -> list[_Overlapping | None]:
        """Return what the gradients of the inputs are added up in; one takes spare memory if it fits."""
        totals: list[_Overlapping | None] = []
        for x, want in zip(self.inputs, wanted, strict=False):
            if want and spare is not None and (x.shape, x.stride()) == (spare.shape, spare.stride()):
                totals.append(_Overlapping(spare))
                spare = None
            else:
                totals.append(_Overlapping(torch.empty_like(x)) if want else None)
        return totals


class _Slopes:
    """Gradients of parameters, added up over bands."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._totals = {
            parameter: torch.zeros_like(parameter) if parameter.requires_grad else None for parameter in parameters
        }

    @property
    def totals(self) -> list[Tensor | None]:
        """The gradients, None for parameters that want none."""
        return list(self._totals.values())

    def wanted_of(self, modules: Iterable[nn.Module]) -> list[Tensor]:
        """Return the parameters of modules that want a gradient."""
        return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]

    def of_convolution(self, layer: nn.Conv2d, band: _Band, rows: Tensor, gradient: Tensor) -> Tensor:
        """Add the gradients of a convolution's parameters; return that of the rows that it sees, a band and its margin.

        Given the gradient of the band's output. Unlike autograd, this does not compute the output again.
        """
        stride, kernel = layer.stride[0], layer.kernel_size[0]
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        # The convolution pads each side by 1. Where the band has a margin, that is one row of it instead.
        begin = max(band.above - 1, 0)
        end = band.above - 1 + (gradient.shape[-2] - 1) * stride + kernel
        with torch.enable_grad():
            leaf = rows[..., begin:end, :].detach().requires_grad_()
            window = F.pad(leaf, (1, 1, begin - band.above + 1, end - begin - leaf.shape[-2]), mode)
        wanted = [True, layer.weight.requires_grad, layer.bias is not None and layer.bias.requires_grad]
        like = ([layer.out_channels], layer.stride, (0, 0), layer.dilation, False, (0, 0), layer.groups)
        to_window, to_weight, to_bias = torch.ops.aten.convolution_backward(
            gradient, window.detach(), layer.weight, *like, wanted
        )
        self._add(layer.weight, to_weight)
        if layer.bias is not None:
            self._add(layer.bias, to_bias)
        (to_leaf,) = torch.autograd.grad(window, leaf, to_window)
        if to_leaf.shape == rows.shape:
            return to_leaf
        return F.pad(to_leaf, (0, 0, begin, rows.shape[-2] - begin - to_leaf.shape[-2]))

    def differentiate(
        self,
        parameters: Sequence[Tensor],
        outputs: Sequence[Tensor],
        gradients: Sequence[Tensor],
        rows: Sequence[Tensor] = (),
    ) -> list[Tensor | None]:
        """Add the gradients of parameters, given those of what a band computed; return those of its rows."""
        sources = [*parameters, *(cut for cut in rows if cut.requires_grad)]
        pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
        found = iter(torch.autograd.grad([out for out, _ in pairs], sources, [pull for _, pull in pairs]))
        for parameter in parameters:
            self._add(parameter, next(found))
        return [next(found) if cut.requires_grad else None for cut in rows]

    def _add(self, parameter: Tensor, slope: Tensor | None) -> None:
        total = self._totals[parameter]
        if total is not None and slope is not None:
            total.add_(slope)


class _Overlapping:
    """The gradient of a whole image, added up from those of bands with their margins, from the top to the bottom.

    Its memory may hold what bands are computed from: a band's rows are overwritten once the band is added.
    """

    def __init__(self, total: Tensor) -> None:
        self.total = total
        self._below: Tensor | None = None  # of the latest band: the rows of its margin

    def add(self, band: _Band, slope: Tensor, scale: int = 1) -> None:
        """Add the gradient of the next band and its margin."""
        above, rows = band.above // scale, band.of(self.total, scale)
        end = above + rows.shape[-2]
        if above:
            band.with_margin(self.total, scale)[..., :above, :].add_(slope[..., :above, :])
        rows.copy_(slope[..., above:end, :])
        if self._below is not None:
            rows[..., : self._below.shape[-2], :].add_(self._below)
        self._below = slope[..., end:, :].clone() if end < slope.shape[-2] else None


def _assembled(bands: Sequence[_Band], compute: Callable[[_Band], Tensor], like: Tensor, scale: int = 1) -> Tensor:
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


def _measured(bands: Sequence[_Band], compute: Callable[[_Band], Tensor], like: Tensor) -> tuple[Tensor, _Statistics]:
    """Compute all bands, and their statistics."""
    moments = _Moments()

    def measure(band: _Band) -> Tensor:
        rows = compute(band)
        moments.add(rows)
        return rows

    return _assembled(bands, measure, like), moments.statistics()


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

    def statistics(self) -> _Statistics:
        """Return the statistics of everything that was added, in its precision."""
        scale = (self._squares / self._count + NORM_EPSILON).rsqrt()
        return _Statistics(self._mean.to(self._dtype), scale.to(self._dtype))


def _replace_by_slopes(
    values: Tensor, statistics: _Statistics, bands: Sequence[_Band], gradient: Callable[[_Band], Tensor]
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
