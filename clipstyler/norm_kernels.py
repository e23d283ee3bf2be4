"""Instance normalization and ReLU of interleaved channels in two passes over the data each way: kernels for GPUs.

What PyTorch offers takes a kernel for every operation, some twelve of them, each as long as these. Triton compiles the
kernels when they are first used, which needs a C compiler. What is no number stays none, as in PyTorch: an optimization
that diverges is noticed.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_PARTS = 256  # in which an image is summed up at most: a few for each multiprocessor
_ROWS = 128  # pixels that a program holds at once


class FusedNormReLU(torch.autograd.Function):
    """`nn.InstanceNorm2d` followed by `nn.ReLU`: (B, C, H, W) with interleaved channels to the same, C a power of 2.

    Sums are in single precision, whatever the values are in. Each part of an image is summed up about a mean of its
    own, so that neither a mean far from zero nor a few pixels far from the rest cost digits.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
        """Normalize and rectify; keeps the input, and mean and inverse deviation of each channel."""
        x = x.contiguous(memory_format=torch.channels_last)
        grid, sizes = _layout(x)
        partial, moments = _buffers(x, grid)
        out = torch.empty_like(x)
        with torch.cuda.device_of(x):  # Triton starts kernels on the current device
            _sum_values[grid](x, partial, *sizes)
            _normalize[grid](x, partial, moments, out, epsilon, *sizes)
        ctx.save_for_backward(x, moments)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """With g the rectified gradient and n the normalized input: (g - mean(g) - n mean(g n)) / deviation."""
        x, moments = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        grid, sizes = _layout(x)
        partial, _ = _buffers(x, grid)
        out = torch.empty_like(x)
        _sum_gradients[grid](x, gradient, moments, partial, *sizes)
        _differentiate[grid](x, gradient, moments, partial, out, *sizes)
        return out, None


def _layout(x: Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the grid, and what every kernel is told: pixels, pixels per part, parts, their power of 2, channels."""
    images, channels, height, width = x.shape
    pixels = height * width
    chunk = triton.cdiv(triton.cdiv(pixels, _PARTS), _ROWS) * _ROWS
    parts = triton.cdiv(pixels, chunk)
    return (images, parts), (pixels, chunk, parts, triton.next_power_of_2(parts), channels, _ROWS)


def _buffers(x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return room for two sums of each part, and for the mean and the inverse deviation, of every channel."""
    images, channels = x.shape[:2]
    partial = torch.empty(images, grid[1], 2, channels, device=x.device, dtype=torch.float32)
    return partial, torch.empty(images, 2, channels, device=x.device, dtype=torch.float32)


@triton.jit
def _sum_values(
    x, partial, pixels, chunk, parts, PARTS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr
) -> None:
    image, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, CHANNELS)
    x += image * pixels * CHANNELS
    begin = part * chunk
    row = begin + tl.arange(0, ROWS)
    inside = (row < pixels)[:, None]
    values = tl.load(x + row[:, None] * CHANNELS + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    pivot = tl.sum(values, axis=0) / tl.minimum(ROWS, pixels - begin)
    first = tl.zeros([CHANNELS], tl.float32)
    second = tl.zeros([CHANNELS], tl.float32)
    for start in range(begin, begin + chunk, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < pixels)[:, None]
        values = tl.load(x + row[:, None] * CHANNELS + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        values = tl.where(inside, values - pivot[None, :], 0.0)
        first += tl.sum(values, axis=0)
        second += tl.sum(values * values, axis=0)
    distance = first / tl.minimum(chunk, pixels - begin)
    sums = partial + (image * parts + part) * 2 * CHANNELS
    tl.store(sums + channel, pivot + distance)
    tl.store(sums + CHANNELS + channel, second - distance * first)


@triton.jit
def _sums(partial, image, parts, PARTS: tl.constexpr, CHANNELS: tl.constexpr):
    """What was stored of all parts of an image: two values of each channel, and which parts there are."""
    part = tl.arange(0, PARTS)
    channel = tl.arange(0, CHANNELS)
    place = (image * parts + part)[:, None] * 2 * CHANNELS + channel[None, :]
    present = (part < parts)[:, None]
    first = tl.load(partial + place, mask=present, other=0.0)
    return first, tl.load(partial + place + CHANNELS, mask=present, other=0.0), present


@triton.jit
def _means(partial, image, pixels, parts, PARTS: tl.constexpr, CHANNELS: tl.constexpr):
    """Both sums of all parts of an image, divided by its pixels."""
    first, second, _ = _sums(partial, image, parts, PARTS, CHANNELS)
    return tl.sum(first, axis=0) / pixels, tl.sum(second, axis=0) / pixels


@triton.jit
def _moments(partial, image, pixels, chunk, parts, PARTS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean and variance of an image, from the mean of each part and its sum of squared distances from it."""
    means, squares, present = _sums(partial, image, parts, PARTS, CHANNELS)
    counts = tl.minimum(chunk, pixels - tl.arange(0, PARTS) * chunk)[:, None]
    pivot = tl.load(partial + image * parts * 2 * CHANNELS + tl.arange(0, CHANNELS))
    mean = pivot + tl.sum(tl.where(present, (means - pivot[None, :]) * counts, 0.0), axis=0) / pixels
    distance = means - mean[None, :]
    spread = tl.where(present, squares + distance * distance * counts, 0.0)
    return mean, tl.sum(spread, axis=0) / pixels


@triton.jit
def _normalize(
    x,
    partial,
    moments,
    out,
    epsilon,
    pixels,
    chunk,
    parts,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    image, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, CHANNELS)
    x += image * pixels * CHANNELS
    out += image * pixels * CHANNELS
    mean, variance = _moments(partial, image, pixels, chunk, parts, PARTS, CHANNELS)
    scale = 1 / tl.sqrt(tl.maximum(variance, 0.0) + epsilon)
    if part == 0:
        tl.store(moments + image * 2 * CHANNELS + channel, mean)
        tl.store(moments + image * 2 * CHANNELS + CHANNELS + channel, scale)
    for start in range(part * chunk, part * chunk + chunk, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < pixels)[:, None]
        place = row[:, None] * CHANNELS + channel[None, :]
        values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        values = tl.maximum((values - mean[None, :]) * scale[None, :], 0.0, propagate_nan=tl.PropagateNan.ALL)
        tl.store(out + place, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _kept(moments, image, CHANNELS: tl.constexpr):
    """Mean and inverse deviation of every channel of an image."""
    place = moments + image * 2 * CHANNELS + tl.arange(0, CHANNELS)
    return tl.load(place), tl.load(place + CHANNELS)


@triton.jit
def _rectified(x, gradient, place, inside, mean, scale):
    """The normalized values at some places, and the gradient that the ReLU lets through."""
    normalized = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * scale[None, :]
    slopes = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
    return normalized, tl.where(normalized > 0, slopes, 0.0)


@triton.jit
def _sum_gradients(
    x,
    gradient,
    moments,
    partial,
    pixels,
    chunk,
    parts,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    image, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, CHANNELS)
    x += image * pixels * CHANNELS
    gradient += image * pixels * CHANNELS
    mean, scale = _kept(moments, image, CHANNELS)
    first = tl.zeros([CHANNELS], tl.float32)
    second = tl.zeros([CHANNELS], tl.float32)
    for start in range(part * chunk, part * chunk + chunk, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < pixels)[:, None]
        place = row[:, None] * CHANNELS + channel[None, :]
        normalized, slopes = _rectified(x, gradient, place, inside, mean, scale)
        first += tl.sum(slopes, axis=0)
        second += tl.sum(slopes * normalized, axis=0)
    sums = partial + (image * parts + part) * 2 * CHANNELS
    tl.store(sums + channel, first)
    tl.store(sums + CHANNELS + channel, second)


@triton.jit
def _differentiate(
    x,
    gradient,
    moments,
    partial,
    out,
    pixels,
    chunk,
    parts,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    image, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, CHANNELS)
    x += image * pixels * CHANNELS
    gradient += image * pixels * CHANNELS
    out += image * pixels * CHANNELS
    mean, scale = _kept(moments, image, CHANNELS)
    level, slope = _means(partial, image, pixels, parts, PARTS, CHANNELS)
    for start in range(part * chunk, part * chunk + chunk, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < pixels)[:, None]
        place = row[:, None] * CHANNELS + channel[None, :]
        normalized, slopes = _rectified(x, gradient, place, inside, mean, scale)
        slopes = (slopes - level[None, :] - normalized * slope[None, :]) * scale[None, :]
        tl.store(out + place, slopes.to(out.dtype.element_ty), mask=inside)
