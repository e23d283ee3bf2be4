"""A part of StyleNet on a large image, band of rows by band of rows: the same function in a fraction of the memory.

A convolution sees a few rows, so a band is computed from its own rows and a few on either side. An instance
normalization sees the whole image, but only through the mean and the deviation of each channel. With these given,
a part is local; so forward, they are gathered over all bands first, one normalization after the other. Backward, the
gradients of a normalization's mean and deviation are sums over all bands too: they are gathered from the last
normalization to the first, each time computing the bands again, before the last pass finds all other gradients.

Only the inputs, the output and their gradients exist as a whole. The price is about twice the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipstyler.interleaved_norm import NORM_EPSILON

_BAND_VALUES = 2**22  # of the inputs, without the margin: 16 MiB
_MARGIN = 4  # rows: two convolutions see one each, and an enlarged input one more; even, as a scale may be 2


@dataclass(frozen=True)
class Part:
    """A residual block with what is local before and after it; calling it computes it as a whole.

    Attributes
    ----------
    block
        Two times convolution, instance normalization and ReLU (`body`), beside a convolution (`skip`). Convolutions
        of `body` see one row on either side, whatever their padding is.
    before
        Maps the inputs to the block's.
    after
        Maps the block's output to that of the part.
    scales
        Of each input: by how much its sides are smaller than the output's, 1 or 2.
    modules
        Those with parameters.
    """

    block: Any
    before: Callable[..., Tensor]
    after: Callable[[Tensor], Tensor]
    scales: tuple[int, ...]
    modules: tuple[nn.Module, ...]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Compute the part as a whole."""
        return self.after(self.block(self.before(*inputs)))

    def pixels(self, *inputs: Tensor) -> int:
        """Return the number of pixels of the output."""
        height, width = inputs[0].shape[-2:]
        return height * width * self.scales[0] ** 2


class _Statistics(NamedTuple):
    """Of each channel of each image, (B, C, 1, 1): its mean, and the inverse of its deviation."""

    mean: Tensor
    scale: Tensor

    def detached(self) -> _Statistics:
        """Return the same as leaves that want gradients."""
        return _Statistics(*(value.detach().requires_grad_() for value in self))


class _Band(NamedTuple):
    """Rows of the output, and how many more are computed above and below."""

    top: int
    bottom: int
    above: int
    below: int

    def rows(self, scale: int) -> slice:
        """Rows of an input, with the margin."""
        return slice((self.top - self.above) // scale, (self.bottom + self.below) // scale)

    def core(self, values: Tensor) -> Tensor:
        """Cut the margin off what was computed."""
        return values[..., self.above : self.above + self.bottom - self.top, :]

    def of_whole(self, values: Tensor) -> Tensor:
        """Cut the band out of a whole image."""
        return values[..., self.top : self.bottom, :]


def in_bands(part: Part, *inputs: Tensor) -> Tensor:
    """Compute a part band by band, equal to calling it within rounding, gradients included.

    Parameters
    ----------
    part
        What is computed.
    *inputs
        Float32, (B, C, H / scale, W / scale) with even H.
    """
    parameters = [parameter for module in part.modules for parameter in module.parameters()]
    out: Tensor = _InBands.apply(part, len(inputs), *inputs, *parameters)
    return out


class _InBands(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Part, count: int, *tensors: Tensor) -> Tensor:
        inputs = tensors[:count]
        work = _Work(part, inputs)
        first = work.gather(lambda band: work.first(band)[1])
        second = work.gather(lambda band: work.second(work.first(band)[1], first))
        ctx.part, ctx.first, ctx.second = part, first, second
        ctx.save_for_backward(*inputs)
        out: Tensor | None = None
        for band in work.bands:
            rows = band.core(work.whole(band, first, second).out)
            if out is None:
                out = _empty(rows, inputs[0], work.height)
            band.of_whole(out).copy_(rows)
        assert out is not None
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        inputs: tuple[Tensor, ...] = ctx.saved_tensors
        work = _Work(ctx.part, inputs)
        second_slopes = _second_slopes(work, ctx.first, ctx.second, gradient)
        first_slopes = _first_slopes(work, ctx.first, ctx.second, gradient, second_slopes)
        wanted = ctx.needs_input_grad[2:]
        found = _slopes(work, ctx.first, ctx.second, gradient, (first_slopes, second_slopes), wanted)
        return None, None, *found


class _Computed(NamedTuple):
    """What a band makes: the values before both normalizations, and the output, all with margins."""

    first: Tensor
    second: Tensor
    out: Tensor


class _Work:
    """A part with its whole inputs."""

    def __init__(self, part: Part, inputs: tuple[Tensor, ...]) -> None:
        self.part = part
        self.inputs = inputs
        self.height = inputs[0].shape[-2] * part.scales[0]
        self.width = inputs[0].shape[-1] * part.scales[0]
        self.pixels = self.height * self.width
        channels = sum(value.shape[1] for value in inputs)
        rows = max(_MARGIN, _BAND_VALUES // (channels * self.width) // _MARGIN * _MARGIN)
        self.bands = [
            _Band(top, bottom, min(_MARGIN, top), min(_MARGIN, self.height - bottom))
            for top, bottom in ((top, min(top + rows, self.height)) for top in range(0, self.height, rows))
        ]

    def cut(self, band: _Band) -> tuple[Tensor, ...]:
        """Return the rows of the inputs that a band needs."""
        return tuple(x[..., band.rows(scale), :] for x, scale in zip(self.inputs, self.part.scales, strict=True))

    def first(self, band: _Band, cut: tuple[Tensor, ...] | None = None) -> tuple[Tensor, Tensor]:
        """Return the block's input and the values before the first normalization."""
        x = self.part.before(*(cut or self.cut(band)))
        return x, self.part.block.body[0](x)

    def second(self, values: Tensor, statistics: _Statistics) -> Tensor:
        """Return the values before the second normalization."""
        out: Tensor = self.part.block.body[2](_normalized(values, statistics))
        return out

    def out(self, x: Tensor, values: Tensor, statistics: _Statistics) -> Tensor:
        """Return the output."""
        return self.part.after(_normalized(values, statistics) + self.part.block.skip(x))

    def whole(
        self, band: _Band, first: _Statistics, second: _Statistics, cut: tuple[Tensor, ...] | None = None
    ) -> _Computed:
        """Compute a band from its inputs to its output."""
        x, values = self.first(band, cut)
        deeper = self.second(values, first)
        return _Computed(values, deeper, self.out(x, deeper, second))

    def gather(self, compute: Callable[[_Band], Tensor]) -> _Statistics:
        """Return the statistics of what is computed of all bands."""
        moments = _Moments()
        for band in self.bands:
            moments.add(band.core(compute(band)))
        return moments.statistics()


def _normalized(values: Tensor, statistics: _Statistics) -> Tensor:
    return ((values - statistics.mean) * statistics.scale).relu()


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
        variance, mean = torch.var_mean(values, dim=(2, 3), correction=0, keepdim=True)
        total = self._count + count
        distance = mean.double() - self._mean
        self._mean = self._mean + distance * (count / total)
        self._squares = self._squares + variance.double() * count + distance.square() * (self._count * count / total)
        self._count = total

    def statistics(self) -> _Statistics:
        """Return the statistics of everything that was added, in its precision."""
        scale = (self._squares / self._count + NORM_EPSILON).rsqrt()
        return _Statistics(self._mean.to(self._dtype), scale.to(self._dtype))


def _second_slopes(work: _Work, first: _Statistics, second: _Statistics, gradient: Tensor) -> _Statistics:
    """Gather the gradients of the second normalization's statistics."""
    leaves = second.detached()
    sums = _Sums(leaves)
    for band in work.bands:
        with torch.no_grad():
            x, values = work.first(band)
            deeper = work.second(values, first)
        with torch.enable_grad():
            out = work.out(x, deeper, leaves)
            sums.add(torch.autograd.grad(band.core(out), leaves, band.of_whole(gradient)))
    return sums.result()


def _first_slopes(
    work: _Work, first: _Statistics, second: _Statistics, gradient: Tensor, second_slopes: _Statistics
) -> _Statistics:
    """Gather the gradients of the first normalization's statistics."""
    leaves = first.detached()
    sums = _Sums(leaves)
    for band in work.bands:
        with torch.no_grad():
            x, values = work.first(band)
        with torch.enable_grad():
            deeper = work.second(values, leaves)
            out = work.out(x, deeper, second)
            pull = _pull(band.core(deeper), second, second_slopes, work.pixels)
            outputs = (band.core(out), band.core(deeper))
            sums.add(torch.autograd.grad(outputs, leaves, (band.of_whole(gradient), pull)))
    return sums.result()


def _slopes(
    work: _Work,
    first: _Statistics,
    second: _Statistics,
    gradient: Tensor,
    statistics_slopes: tuple[_Statistics, _Statistics],
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    """Return the gradients of inputs and parameters, None for those that are not wanted."""
    parameters = [parameter for module in work.part.modules for parameter in module.parameters()]
    found: list[Tensor | None] = [
        torch.zeros_like(value) if want else None
        for value, want in zip([*work.inputs, *parameters], wanted, strict=True)
    ]
    scales = (*work.part.scales, *[0] * len(parameters))
    for band in work.bands:
        with torch.enable_grad():
            cut = tuple(part.detach().requires_grad_(want) for part, want in zip(work.cut(band), wanted, strict=False))
            made = work.whole(band, first, second, cut)
            outputs = tuple(band.core(part) for part in made)
            pulls = (
                _pull(outputs[0], first, statistics_slopes[0], work.pixels),
                _pull(outputs[1], second, statistics_slopes[1], work.pixels),
                band.of_whole(gradient),
            )
            sources = [value for value, want in zip([*cut, *parameters], wanted, strict=True) if want]
            slopes = iter(torch.autograd.grad(outputs, sources, pulls))
        for total, scale in zip(found, scales, strict=True):
            if total is not None:
                place = total[..., band.rows(scale), :] if scale else total
                place.add_(next(slopes))
    return found


def _pull(values: Tensor, statistics: _Statistics, slopes: _Statistics, count: int) -> Tensor:
    """Return the gradient that values before a normalization have through its statistics alone.

    The mean has the derivative 1 / N, and the inverse deviation r has -r^3 (x - mean) / N.
    """
    factor = slopes.scale * statistics.scale**3
    return (slopes.mean - factor * (values.detach() - statistics.mean)) / count


class _Sums:
    """Sums of the gradients of statistics over all bands, in double precision."""

    def __init__(self, like: _Statistics) -> None:
        self._dtype = like.mean.dtype
        self._sums = [torch.zeros_like(value, dtype=torch.float64) for value in like]

    def add(self, slopes: tuple[Tensor, ...]) -> None:
        """Add those of a band."""
        for total, slope in zip(self._sums, slopes, strict=True):
            total.add_(slope)

    def result(self) -> _Statistics:
        """Return the sums in the precision of the statistics."""
        return _Statistics(*(total.to(self._dtype) for total in self._sums))


def _empty(rows: Tensor, like: Tensor, height: int) -> Tensor:
    """Return memory for a whole output of which some rows are known, in the layout of an input."""
    batch, channels, _, width = rows.shape
    is_interleaved = like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_interleaved else torch.contiguous_format
    return torch.empty(batch, channels, height, width, dtype=rows.dtype, device=rows.device, memory_format=layout)
