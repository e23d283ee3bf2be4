"""Resizes images to CLIP's square views without PyTorch; `clipstyler.patches.resize` is the PyTorch counterpart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]


def views(images: Floats, image_size: int) -> Floats:
    """Resize whole images to square views, antialiased; the aspect ratio is not kept.

    Pillow's bilinear filter widens with the scale, like PyTorch's `antialias=True`, which was modeled on it.

    Parameters
    ----------
    images
        Float32 (B, 3, H, W), RGB in [0, 1].
    image_size
        Side of the views; images of that size are returned unchanged.

    Returns
    -------
    Float32 (B, 3, image_size, image_size).
    """
    if images.shape[2:] == (image_size, image_size):
        return images
    planes = images.reshape(-1, *images.shape[2:])
    resized = [_resize(plane, image_size) for plane in planes]
    return np.stack(resized).reshape(*images.shape[:2], image_size, image_size)


def _resize(plane: Floats, side: int) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float32)
