"""Between pictures and tensors: mirrored padding, the contrast step, rounding to pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipstyler.imaging import Picture
from clipstyler.stylenet import STRIDE
from clipstyler.tints import luminance

# A narrower photo is mirrored to this: VGG19 halves four times, and StyleNet normalizes over its smallest map.
SMALLEST_SIDE = 16


def padded(photo: Picture, canvas: tuple[int, ...]) -> Tensor:
    """Convert a photo to a tensor (1, 3, H, W) in [0, 1], mirrored at its right and lower border.

    It covers the canvas, and its sides are multiples of StyleNet's stride.
    """
    sizes = (photo.height, photo.width)
    rows, columns = (mirrored(size, side) for size, side in zip(sizes, canvas, strict=True))
    pixels = photo.rgb[np.ix_(rows, columns)]
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def mirrored(size: int, side: int) -> NDArray[np.intp]:
    """Return which pixels a row of so many shows at each place if it is mirrored at its end to cover a side.

    There are as many places as the next multiple of StyleNet's stride.
    """
    end = max(side, size)
    return np.pad(np.arange(size), (0, end + -end % STRIDE - size), mode="reflect")


def adjust_contrast(image: Tensor, factor: float, gray: Tensor | None = None) -> Tensor:
    """Blend (1, 3, H, W) in [0, 1] with a gray; factor 1 changes nothing. The result is clamped to [0, 1].

    The authors' saved images use 1.5, through torchvision's function of the same name. The gray is the image's own
    mean unless that of another image is given.
    """
    if factor == 1:
        return image
    mean = mean_gray(image) if gray is None else gray
    return (factor * image + (1 - factor) * mean).clamp(0, 1)


def mean_gray(image: Tensor) -> Tensor:
    """Return the mean luminance of (1, 3, H, W) as (1, 1, 1, 1)."""
    return luminance(image).mean(dim=(-2, -1), keepdim=True)


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Round (1, 3, H, W) in [0, 1] to 8-bit pixels (H, W, 3)."""
    pixels: NDArray[np.uint8] = rounded(image).cpu().numpy()
    return pixels


def rounded(image: Tensor) -> Tensor:
    """Round (1, 3, H, W) in [0, 1] to 8-bit pixels (H, W, 3) on the same device."""
    return (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
