"""What the towers are shown in training: cut-outs through a random perspective on black, or whole and unwarped.

The same two kinds of view that a stylization shows them (see `clipstyler.patches`), from a batch of pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.patches import corners, homographies, sample_quadrilaterals

_SHARE_WARPED = 0.65
_SMALLEST_CUT = 0.45


def views(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Cut a view from each picture.

    Parameters
    ----------
    pictures
        Float32 in [0, 1], (B, 3, S, S).
    size
        Side of the views in pixels.
    generator
        Source of randomness.

    Returns
    -------
    Float32 in [0, 1], (B, 3, size, size): a square of random side (one draw for four pictures, so that each is
    resampled antialiased), mirrored half of the time, and 65 % of them warped as patches are.
    """
    groups = [_cut(part, size, generator) for part in torch.split(pictures, 4)]
    cuts = torch.cat(groups)
    warped = _warp(cuts, generator)
    chosen = torch.rand(len(cuts), generator=generator) < _SHARE_WARPED
    return torch.where(chosen[:, None, None, None], warped, cuts)


def _cut(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    side = pictures.shape[-1]
    draws = torch.rand(4, generator=generator).tolist()
    cut = round(side * (_SMALLEST_CUT + (1 - _SMALLEST_CUT) * draws[0]))
    top, left = round((side - cut) * draws[1]), round((side - cut) * draws[2])
    part = pictures[..., top : top + cut, left : left + cut]
    part = part.flip(-1) if draws[3] < 0.5 else part
    return F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def _warp(cuts: Tensor, generator: torch.Generator) -> Tensor:
    """Warp each view as a patch: its corners move inward, black outside."""
    count, _, size, _ = cuts.shape
    quadrilaterals = sample_quadrilaterals(count, size, generator)
    matrices = homographies(quadrilaterals, corners(size).expand(count, 4, 2))
    centers = torch.arange(size, dtype=torch.float64) + 0.5
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1).reshape(1, -1, 3) @ matrices.transpose(1, 2)
    grid = (points[..., :2] / points[..., 2:] * (2 / size) - 1).float().reshape(count, size, size, 2)
    return F.grid_sample(cuts, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
