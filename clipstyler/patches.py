"""Patches: random crops, each through a random perspective, all in one resampling.

Points are (x, y) in pixels; pixel i covers [i, i + 1]. A homography is a 3x3 matrix that maps homogeneous
points of a view of the crop's own size to points of the image, so crop, perspective and resize are one sampling.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.config import AugmentFill

# Distortion scale 0.5 of half the side: how far a corner moves inward, as a fraction of the side.
LARGEST_CORNER_SHIFT = 0.25
# Corners moved inward by half of that on average, on both ends, show the crop at this share of its size.
_MEAN_SHRINK = 1 - LARGEST_CORNER_SHIFT


def sample_origins(
    count: int,
    side: int,
    height: int,
    width: int,
    generator: torch.Generator,
    overhang: int = 0,
    *,
    mirrored: bool = False,
) -> Tensor:
    """Draw the upper left corners of crops: float64 whole pixels, (count, 2) as (x, y).

    They are uniform over all places up to `overhang` pixels beyond the border (none: as in the paper), where pixels
    near the border are sampled less often. They are moved back onto the image, unless it is mirrored beyond: with an
    overhang of half a side, all its pixels are then sampled equally often.
    """
    room = torch.tensor([width - side, height - side], dtype=torch.float64)
    draws = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    origins = torch.floor(draws * (room + 1 + 2 * overhang)) - overhang
    return origins if mirrored else origins.clamp_min(0).minimum(room)


def sample_quadrilaterals(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw where the corners of crops land in their views, float64 of shape (count, 4, 2).

    Corners are in the order upper left, upper right, lower right, lower left; each is moved inward, horizontally
    and vertically, by an independent uniform amount of 0 to a quarter of the side.
    """
    shift = torch.rand(count, 4, 2, generator=generator, dtype=torch.float64) * (LARGEST_CORNER_SHIFT * side)
    inward = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=torch.float64)
    return corners(side) + inward * shift


def corners(side: int) -> Tensor:
    """Corners of a square from the origin, float64 of shape (4, 2), clockwise from the upper left."""
    return torch.tensor([[0, 0], [side, 0], [side, side], [0, side]], dtype=torch.float64)


def homographies(source: Tensor, target: Tensor) -> Tensor:
    """Solve for the matrices that map four points to four points.

    Parameters
    ----------
    source, target
        Float64, (N, 4, 2); no three points of one quadrilateral on a line.

    Returns
    -------
    Float64 of shape (N, 3, 3), lower right entry 1. Source: direct linear transform, eight equations.
    """
    x, y = source.unbind(-1)
    u, v = target.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows_u = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1)
    rows_v = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1)
    solution = torch.linalg.solve(torch.cat([rows_u, rows_v], dim=1), torch.cat([u, v], dim=1))
    return torch.cat([solution, one[:, :1]], dim=1).reshape(-1, 3, 3)


def perspectives(views: Tensor, side: int) -> Tensor:
    """Return the matrices from views to their crops, float64 (N, 3, 3).

    Parameters
    ----------
    views
        Quadrilaterals in the views where the crops' corners land, (N, 4, 2), in pixels of the crop.
    side
        Side of the crops in pixels.
    """
    return homographies(views, corners(side).expand(len(views), 4, 2))


def warp(
    image: Tensor,
    origins: Tensor,
    matrices: Tensor,
    side: int,
    view_size: int,
    fill: AugmentFill = AugmentFill.BLACK,
    *,
    mirrored: bool = False,
) -> Tensor:
    """Crop, warp and resize all patches in a single resampling of the image.

    Parameters
    ----------
    image
        Float32, (1, C, H, W).
    origins
        Upper left corners of the crops, (N, 2).
    matrices
        From each view, in pixels of the crop, to its crop, (N, 3, 3): what `perspectives` returns.
    side
        Side of the crops in pixels.
    view_size
        Side of the views in pixels.
    fill
        What lies outside the quadrilateral: black, or the crop's real neighbors (mirrored at the image's border).
    mirrored
        Whether crops may extend beyond the image, where it is mirrored.

    Returns
    -------
    Float32 of shape (N, C, view_size, view_size). Where a view shows the crop smaller than it is, each pixel is the
    mean of several samples, so that nothing is skipped.
    """
    _, channels, height, width = image.shape
    count = len(origins)
    samples = samples_per_pixel(side, view_size)
    points = _project(matrices.to(image), side, view_size * samples)
    to_grid = torch.stack([image.new_full((), 2 / width), image.new_full((), 2 / height)])
    grid = (points + origins[:, None].to(image)) * to_grid - 1
    padding = "border" if fill is AugmentFill.BLACK and not mirrored else "reflection"
    # One image and one tall grid: a grid per patch would need a gradient image per patch.
    sampled = F.grid_sample(image, grid[None], mode="bilinear", padding_mode=padding, align_corners=False)
    sampled = sampled.reshape(channels, count, -1).transpose(0, 1)
    if fill is AugmentFill.BLACK:
        sampled = sampled * _coverage(points, side)[:, None]
    fine = view_size * samples
    sampled = sampled.reshape(count, channels, fine, fine)
    return F.avg_pool2d(sampled, samples) if samples > 1 else sampled


def crop(image: Tensor, origins: Tensor, side: int, view_size: int) -> Tensor:
    """Crop and resize without a perspective: (1, C, H, W) and (N, 2) to (N, C, view_size, view_size).

    Beyond the image, crops show it mirrored.
    """
    cuts = [window(image, x, y, side, side) for x, y in origins.long()]
    return resize(torch.cat(cuts), view_size)


def window(image: Tensor, x: int | Tensor, y: int | Tensor, height: int, width: int) -> Tensor:
    """Cut a window out of the plane that an image tiles with its mirror images: (B, C, H, W) to (B, C, height, width).

    The window's upper left corner is (x, y), in whole pixels of the image (tensors have no shape); border pixels are
    repeated by their own image.
    """
    rows, columns = (
        _mirrored(torch.arange(length, device=image.device) + start, size)
        for start, length, size in zip((y, x), (height, width), image.shape[-2:], strict=True)
    )
    return image.index_select(-2, rows).index_select(-1, columns)


def sample_move(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw how far an image moves in the plane of its mirror images: int64 whole pixels, (2,) as (x, y).

    The distance is uniform up to half the size either way, so the border of what is seen may be anywhere in the image,
    and every pixel is seen equally often.
    """
    draws = torch.rand(2, generator=generator, dtype=torch.float64) - 0.5
    return torch.round(draws * torch.tensor([width, height])).long()


def moved(image: Tensor, move: Tensor) -> Tensor:
    """Move an image in the plane of its mirror images by what `sample_move` returns: (B, C, H, W) to the same shape."""
    x, y = move
    return window(image, x, y, *image.shape[-2:])


def resize(image: Tensor, view_size: int) -> Tensor:
    """Resize whole images to square views, antialiased: (B, C, H, W) to (B, C, view_size, view_size).

    The aspect ratio is not kept, as in the authors' code, so that CLIP sees all of the image.
    """
    return F.interpolate(image, size=(view_size, view_size), mode="bilinear", align_corners=False, antialias=True)


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Return the pixels, 0 to size - 1, that an axis shows at any places: 0 1 2 2 1 0 0 1 ..."""
    period = places.remainder(2 * size)
    return torch.minimum(period, 2 * size - 1 - period)


def samples_per_pixel(side: int, view_size: int) -> int:
    """Samples along each axis of a view's pixel, so that on average no pixel of the crop is skipped."""
    return max(1, math.ceil(side / (view_size * _MEAN_SHRINK)))


def _project(matrices: Tensor, side: int, size: int) -> Tensor:
    """Map the pixel centers of a `size` x `size` view, in pixels of the crop, through matrices: (N, size^2, 2)."""
    centers = (torch.arange(size, device=matrices.device, dtype=matrices.dtype) + 0.5) * (side / size)
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)
    # One tall matrix product: a batch of small ones is twenty times slower on a CPU.
    x, y, scale = (matrices.reshape(-1, 3) @ points).reshape(-1, 3, points.shape[1]).unbind(dim=1)
    return torch.stack([x / scale, y / scale], dim=-1)


def _coverage(points: Tensor, side: int) -> Tensor:
    """How much of the crop lies under each point, 0 to 1: half on its border, as bilinear sampling on black has it."""
    inside = (torch.minimum(points, side - points) + 0.5).clamp(0, 1)
    return inside[..., 0] * inside[..., 1]
