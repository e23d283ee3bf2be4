"""StyleNet with its normalization fixed to one image: what draws photos of any size.

With mean and deviation fixed, the network is convolutions and ReLU, and it does without what takes time beside them:
a normalization is part of the convolution before it, maps that are joined are convolved one by one instead of being
copied into one, and a mirrored border is computed for the border alone instead of copying every map with one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipstyler.interleaved_norm import NORM_EPSILON
from clipstyler.stylenet import StyleNet

_VALUES_AT_ONCE = 2**18
_LARGE_MAP_VALUES = 2**19


class FixedNet(nn.Module):
    """StyleNet for drawing: the first image that it is called with fixes its normalization.

    It equals StyleNet on that image within rounding. On others, each pixel depends on its neighborhood alone.

    Parameters
    ----------
    net
        Fitted; it is left as it is.
    """

    def __init__(self, net: StyleNet) -> None:
        super().__init__()
        self._layout = net.layout
        self.stem = _Convolution(net.stem)
        self.first = _Block(net.first)
        self.down = nn.ModuleList(map(_Block, net.down))
        self.shrink = nn.ModuleList(map(_Convolution, net.shrink))
        self.bottom = _Block(net.bottom)
        self.up = nn.ModuleList(map(_Block, net.up))
        self.last = _Block(net.last)
        self.head = _Convolution(net.head)

    def forward(self, photo: Tensor) -> Tensor:
        """Stylize: (1, 3, H, W) in [0, 1] to the same shape in (0, 1)."""
        first = self.first(self.stem(photo.contiguous(memory_format=self._layout)))
        skips = []
        x = first
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x)
            skips.append(x)
            x = shrink(x)
        x = self.bottom(x)
        for block in self.up:
            x = block(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), skips.pop())
        return torch.sigmoid(self.head(self.last(x, first))).contiguous()


class _Convolution(nn.Module):
    """A copy of a convolution, of one map or of several that lie one behind the other."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.register_buffer("weight", conv.weight.detach().clone())
        self.register_buffer("bias", conv.bias.detach().clone())
        self._stride = conv.stride[0]
        self._convolve: Callable[..., Tensor] = F.conv2d
        self._padding = conv.padding[0]
        if conv.padding_mode == "reflect" and self._padding:
            self._convolve = _convolve_mirrored

    def forward(self, *inputs: Tensor) -> Tensor:
        weights = self.weight.split([x.shape[1] for x in inputs], dim=1)
        out = self._convolve(inputs[0], weights[0], self.bias, self._stride, self._padding)
        for x, weight in zip(inputs[1:], weights[1:], strict=True):
            out.add_(self._convolve(x, weight, None, self._stride, self._padding))
        return out


class _NormalizedConvolution(_Convolution):
    """A convolution with instance normalization and ReLU."""

    def __init__(self, conv: Any) -> None:
        super().__init__(conv)
        self._is_fixed = False

    def forward(self, *inputs: Tensor) -> Tensor:
        out = super().forward(*inputs)
        if not self._is_fixed:
            self._fix(out)
        return out.relu_()

    def _fix(self, out: Tensor) -> None:
        """Normalize the first output, in place, and make (x - mean) / deviation part of the convolution."""
        variance, mean = _variances_and_means(out[0])
        scale = (variance + NORM_EPSILON).rsqrt()
        self.weight.copy_(self.weight * scale[:, None, None, None])
        self.bias.copy_((self.bias - mean) * scale)
        out.sub_(mean.to(out.dtype)[:, None, None]).mul_(scale.to(out.dtype)[:, None, None])
        self._is_fixed = True


class _Block(nn.Module):
    """A residual block, of one map or of two that lie one behind the other."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.opening = _NormalizedConvolution(block.body[0])
        self.closing = _NormalizedConvolution(block.body[2])
        self.skip = _Convolution(block.skip)

    def forward(self, *inputs: Tensor) -> Tensor:
        body = self.closing(self.opening(*inputs))
        out: Tensor = self.skip(*inputs)
        return out.add_(body)


def _convolve_mirrored(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolve what is mirrored at its border by one pixel."""
    # To start more kernels takes longer than to copy a small map, and on other devices than to copy any.
    if x.device.type != "cpu" or x.numel() < _LARGE_MAP_VALUES:
        return F.conv2d(F.pad(x, [padding] * 4, mode="reflect"), weight, bias, stride)
    return _convolve_border_again(x, weight, bias, stride, padding)


def _convolve_border_again(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolve with zeros beyond the border, and replace what they have changed."""
    out = F.conv2d(x, weight, bias, stride, padding)
    sides = F.conv2d(_ends(x, 3, weight), weight, bias, stride, (padding, 0))
    out[..., 0], out[..., -1] = sides[0, ..., 0], sides[1, ..., 0]
    # These are right at the corners too.
    edges = F.conv2d(F.pad(_ends(x, 2, weight), (padding, padding, 0, 0), mode="reflect"), weight, bias, stride)
    out[..., 0, :], out[..., -1, :] = edges[0, ..., 0, :], edges[1, ..., 0, :]
    return out


def _ends(x: Tensor, dim: int, weight: Tensor) -> Tensor:
    """Return what the first and the last place of a side see, mirrored by one pixel, as a batch of two."""
    seen, last = weight.shape[dim], x.shape[dim] - 1
    first_sees = [1, *range(seen - 1)]
    last_sees = [*range(last - seen + 2, last + 1), last - 1]
    return torch.cat([x.index_select(dim, torch.tensor(places)) for places in (first_sees, last_sees)])


def _variances_and_means(channels: Tensor) -> tuple[Tensor, Tensor]:
    """Return variance and mean of each channel of (C, H, W).

    A few channels at a time, in float64: sums over whole images are inaccurate in float32. `torch.var_mean` is several
    times as slow.
    """
    variances, means = [], []
    for part in channels.split(max(1, _VALUES_AT_ONCE // channels[0].numel())):
        values = part.flatten(1).double()
        mean = values.mean(dim=1)
        means.append(mean)
        variances.append(values.sub_(mean[:, None]).square_().mean(dim=1))
    return torch.cat(variances), torch.cat(means)
