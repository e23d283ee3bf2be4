"""Frozen layers in bfloat16: half the traffic, and faster products where the processor has instructions for them.

Only products of frozen weights are computed so, with sums in single precision inside; whatever normalizes, compares or
adds up stays in single precision. On a CPU, casting a whole graph is slower than single precision.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Bf16Linear(nn.Module):
    """A frozen linear layer: any floats (..., D_in) to bfloat16 (..., D_out)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().bfloat16())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """Multiply; gradients arrive in the input's own type."""
        return F.linear(x.bfloat16(), self.weight, self.bias)


def to_bf16(layers: nn.Sequential) -> None:
    """Convert frozen convolutions in place, with interleaved channels, which their bfloat16 kernels are written for."""
    layers.to(torch.bfloat16)
    layers.to(memory_format=torch.channels_last)


def bf16_image(image: Tensor) -> Tensor:
    """Convert an image for layers of `to_bf16`."""
    return image.to(torch.bfloat16, memory_format=torch.channels_last)
