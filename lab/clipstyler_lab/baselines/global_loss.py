"""Text-guided baselines under the global directional loss alone: no patches, no content loss.

That loss is StyleGAN-NADA's (Gal et al., 2022). With StyleNet it needs no function of its own: `NO_PATCHES_NO_CONTENT`
switches the other terms of the stylization off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler import patches
from clipstyler.encoders.base import ClipEncoder
from clipstyler.losses import directional_loss
from clipstyler_lab.baselines.pixels import optimize_pixels

NO_PATCHES_NO_CONTENT: dict[str, Any] = {"weight_patch": 0.0, "weight_content": 0.0, "weight_tv": 0.0}
"""Options of a stylization that leave the global directional loss only."""
_PIXEL_RATE = 0.05
_COLOR_RATE = 0.02


def global_loss(clip: ClipEncoder, photo: Tensor, direction: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the loss `1 - cos(E_I(image) - E_I(photo), dT)` of whole images.

    Parameters
    ----------
    clip
        The encoder.
    photo
        (1, 3, H, W) in [0, 1].
    direction
        dT, (D,).
    """

    def embed(image: Tensor) -> Tensor:
        return F.normalize(clip.encode_image(patches.resize(image, clip.image_size)), dim=1)

    with torch.no_grad():
        start = embed(photo)
    return lambda image: directional_loss(embed(image), start, direction).mean()


def pixel_optimization(clip: ClipEncoder, photo: Tensor, direction: Tensor, steps: int) -> Tensor:
    """Change the photo's pixels directly: what the loss asks for if nothing holds it back."""
    return optimize_pixels(photo, global_loss(clip, photo, direction), steps, _PIXEL_RATE)


def color_statistics(clip: ClipEncoder, photo: Tensor, direction: Tensor, steps: int) -> Tensor:
    """Change only the mean and the covariance of the photo's colors: one affine map of all pixels, 12 numbers.

    What remains of a style in this picture is its palette; what the full method adds to it is texture.
    """
    loss = global_loss(clip, photo, direction)
    matrix = torch.eye(3, device=photo.device).requires_grad_()
    offset = torch.zeros(3, device=photo.device).requires_grad_()
    optimizer = torch.optim.Adam([matrix, offset], lr=_COLOR_RATE)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(recolor(photo, matrix, offset)).backward()
        optimizer.step()
    return recolor(photo, matrix, offset).detach()


def recolor(photo: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Apply an affine map (3, 3), (3,) to the colors of (1, 3, H, W) around their mean, within [0, 1]."""
    mean = photo.mean(dim=(2, 3), keepdim=True)
    mapped = F.conv2d(photo - mean, matrix[:, :, None, None]) + mean + offset.view(1, 3, 1, 1)
    return mapped.clamp(0, 1)
