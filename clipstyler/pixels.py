"""Between pictures and tensors: mirrored padding, the contrast step, rounding to pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipstyler.imaging import Picture
from clipstyler.stylenet import STRIDE
from clipstyler.tints import luminance


def padded(photo: Picture, canvas: tuple[int, ...]) -> Tensor:
    """Convert a photo to a tensor (1, 3, H, W) in [0, 1], mirrored at its right and lower border.

    It covers the canvas, and its sides are multiples of StyleNet's stride.
    """
    sizes = (photo.height, photo.width)
    pad_height, pad_width = (side + -side % STRIDE - size for side, size in zip(canvas, sizes, strict=True))
    pixels = np.pad(photo.rgb, ((0, pad_height), (0, pad_width), (0, 0)), mode="reflect")
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def adjust_contrast(image: Tensor, factor: float) -> Tensor:
    """Blend (1, 3, H, W) in [0, 1] with its mean gray; factor 1 changes nothing. The result is clamped to [0, 1].

    The authors' saved images use 1.5, through torchvision's function of the same name.
    """
    if factor == 1:
        return image
    mean = luminance(image).mean(dim=(-2, -1), keepdim=True)
    return (factor * image + (1 - factor) * mean).clamp(0, 1)


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Round (1, 3, H, W) in [0, 1] to 8-bit pixels (H, W, 3)."""
    pixels: NDArray[np.uint8] = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    return pixels
