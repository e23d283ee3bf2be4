"""A bias and the ReLU that follows it, in one pass over interleaved channels: a kernel for GPUs.

PyTorch's convolutions in bfloat16 leave the bias to a kernel of its own. Triton compiles this one when it is first
used, which needs a C compiler. What is no number stays none, as in PyTorch: an optimization that diverges is noticed.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024  # values of a program


class FusedBiasReLU(torch.autograd.Function):
    """`relu(x + bias)` with a frozen bias (C,): (B, C, H, W) with interleaved channels to the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        """Add and rectify; keeps the output."""
        x = x.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(x)
        with torch.cuda.device_of(x):
            _add_and_rectify[(triton.cdiv(x.numel(), _BLOCK),)](x, bias, out, x.numel(), x.shape[1], _BLOCK)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Let the gradient through where the output is not 0: one kernel of PyTorch."""
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], out, 0), None


@triton.jit
def _add_and_rectify(x, bias, out, count, CHANNELS: tl.constexpr, BLOCK: tl.constexpr) -> None:
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    values += tl.load(bias + place % CHANNELS, mask=inside, other=0.0).to(tl.float32)
    tl.store(
        out + place, tl.maximum(values, 0.0, propagate_nan=tl.PropagateNan.ALL).to(out.dtype.element_ty), mask=inside
    )
