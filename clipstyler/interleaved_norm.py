"""Instance normalization and ReLU for interleaved channels (`torch.channels_last`).

PyTorch's instance norm is slow in this layout, and its `GroupNorm` and `batch_norm` are inaccurate: they add up whole
images, one number after the other, in single precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NORM_EPSILON = 1e-5  # of `nn.InstanceNorm2d`


class InterleavedNormReLU(nn.Module):
    """`nn.InstanceNorm2d` followed by `nn.ReLU`: (B, C, H, W) to the same, exact within rounding in either layout.

    Parameters
    ----------
    kernels
        Whether a GPU does it by `clipstyler.norm_kernels`.
    """

    def __init__(self, *, kernels: bool = False) -> None:
        super().__init__()
        self._kernels = kernels

    def forward(self, x: Tensor) -> Tensor:
        """Normalize every channel of every image to mean 0 and deviation 1, then rectify."""
        if self._kernels and x.is_cuda:
            from clipstyler.norm_kernels import FusedNormReLU  # needs Triton, which not every build of PyTorch has

            fused: Tensor = FusedNormReLU.apply(x, NORM_EPSILON)
            return fused
        out: Tensor = _NormReLU.apply(x)
        return out


class _NormReLU(torch.autograd.Function):
    """Keeps the normalized values only; with g the rectified gradient, dx = (g - mean(g) - n mean(g n)) / deviation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = _in_single_precision(x)
        centered = wide - _mean(wide)
        scale = (_mean(centered.square()) + NORM_EPSILON).rsqrt()
        normalized = centered.mul_(scale)
        ctx.save_for_backward(normalized, scale)
        return normalized.relu().to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        normalized, scale = ctx.saved_tensors
        wide = gradients[0].to(normalized.dtype)
        gradient: Tensor = torch.ops.aten.threshold_backward(wide, normalized, 0)
        mean, slope = _mean(gradient), _mean(gradient * normalized)
        return gradient.sub_(mean).addcmul_(normalized, slope, value=-1).mul_(scale).to(gradients[0].dtype)


def channel_means(x: Tensor) -> Tensor:
    """Mean of each channel, (B, C, H, W) to (B, C, 1, 1), fast and accurate in either layout."""
    is_interleaved = x.is_contiguous(memory_format=torch.channels_last)
    return _mean(x) if is_interleaved else x.mean(dim=(2, 3), keepdim=True)


def _in_single_precision(x: Tensor) -> Tensor:
    """Return values in single precision at least."""
    return x.float() if x.dtype in {torch.bfloat16, torch.float16} else x


def _mean(x: Tensor) -> Tensor:
    """Mean of each channel, (B, C, H, W) to (B, C, 1, 1), with interleaved channels.

    A GPU adds up in pairs; a CPU would add one number after the other, so there it is a product with ones, by rows.
    """
    if x.device.type != "cpu":
        return x.mean(dim=(2, 3), keepdim=True)
    height, width = x.shape[-2:]
    rows = torch.matmul(x.new_ones(1, width), x.permute(0, 2, 3, 1))  # (B, H, 1, C)
    return rows.sum(dim=1).div_(height * width).permute(0, 2, 1)[..., None]
