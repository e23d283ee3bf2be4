"""Frozen convolutions that leave their biases to the ReLU that follows them, for a GPU."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class BiasReLU(nn.Module):
    """Adds a frozen bias (C,) to maps (B, C, H, W) and rectifies them."""

    bias: Tensor

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Add and rectify."""
        if x.is_cuda:
            from clipstyler.bias_kernels import FusedBiasReLU  # needs Triton, which not every build of PyTorch has

            fused: Tensor = FusedBiasReLU.apply(x, self.bias)
            return fused
        return F.relu(x + self.bias[:, None, None])


def fuse_biases(layers: nn.Sequential) -> None:
    """Move, in place, the bias of every convolution into the ReLU behind it; the numbers of the layers stay."""
    for number, (layer, following) in enumerate(pairwise(layers), 1):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.ReLU) and layer.bias is not None:
            layers[number] = BiasReLU(layer.bias)
            layer.bias = None
