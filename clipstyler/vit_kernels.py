"""A sum and the layer normalization that follows it, in one pass over the data each way: kernels for GPUs.

Between two products of a vision transformer PyTorch adds, normalizes and converts, with a kernel each, which together
take longer than the products. Triton compiles the kernels when they are first used, which needs a C compiler.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


class FusedAddNorm(torch.autograd.Function):
    """`total = x + branch`, and its `nn.LayerNorm` with frozen weights: two (..., D) to two (..., D).

    The total has the type of `x`, the normalized values have that of the branch; sums are in single precision.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, branch: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        """Add and normalize; keeps the total, and mean and inverse deviation of each row."""
        x, branch = x.contiguous(), branch.contiguous()
        total, normalized = torch.empty_like(x), torch.empty_like(branch)
        grid, sizes = _layout(x)
        moments = torch.empty(*grid, 2, device=x.device, dtype=torch.float32)
        with torch.cuda.device_of(x):
            _add_and_normalize[grid](x, branch, weight, bias, total, normalized, moments, epsilon, *sizes)
        ctx.save_for_backward(total, moments, weight)
        return total, normalized

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """With g the weighted gradient and n the normalized total: dtotal + (g - mean(g) - n mean(g n)) / deviation."""
        total, moments, weight = ctx.saved_tensors
        to_total, to_normalized = (gradient.contiguous() for gradient in gradients)
        to_x, to_branch = torch.empty_like(to_total), torch.empty_like(to_normalized)
        grid, sizes = _layout(total)
        _differentiate[grid](total, moments, weight, to_total, to_normalized, to_x, to_branch, *sizes)
        return to_x, to_branch, None, None, None


def _layout(x: Tensor) -> tuple[tuple[int], tuple[int, int]]:
    """Return the grid, one program per row, and the width with its power of 2."""
    width = x.shape[-1]
    return (x.numel() // width,), (width, triton.next_power_of_2(width))


@triton.jit
def _row_of_program(WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """The row of a program, its columns, which of them exist, and where they lie."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    return row, column, column < WIDTH, row * WIDTH + column


@triton.jit
def _add_and_normalize(
    x,
    branch,
    weight,
    bias,
    total,
    normalized,
    moments,
    epsilon,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row, column, inside, place = _row_of_program(WIDTH, BLOCK)
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    values += tl.load(branch + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(total + place, values.to(total.dtype.element_ty), mask=inside)
    mean = tl.sum(values, axis=0) / WIDTH
    centered = tl.where(inside, values - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centered * centered, axis=0) / WIDTH + epsilon)
    tl.store(moments + 2 * row, mean)
    tl.store(moments + 2 * row + 1, scale)
    gain = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    out = centered * scale * gain + shift
    tl.store(normalized + place, out.to(normalized.dtype.element_ty), mask=inside)


@triton.jit
def _differentiate(
    total,
    moments,
    weight,
    to_total,
    to_normalized,
    to_x,
    to_branch,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row, column, inside, place = _row_of_program(WIDTH, BLOCK)
    mean = tl.load(moments + 2 * row)
    scale = tl.load(moments + 2 * row + 1)
    values = tl.load(total + place, mask=inside, other=0.0).to(tl.float32)
    normalized = tl.where(inside, (values - mean) * scale, 0.0)
    gain = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    slopes = tl.load(to_normalized + place, mask=inside, other=0.0).to(tl.float32) * gain
    level = tl.sum(slopes, axis=0) / WIDTH
    slope = tl.sum(slopes * normalized, axis=0) / WIDTH
    out = tl.load(to_total + place, mask=inside, other=0.0).to(tl.float32)
    out += (slopes - level - normalized * slope) * scale
    tl.store(to_x + place, out.to(to_x.dtype.element_ty), mask=inside)
    tl.store(to_branch + place, out.to(to_branch.dtype.element_ty), mask=inside)
