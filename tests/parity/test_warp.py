"""The single resampling against the two-step reference (warp at the crop's size, then resize).

Both are bilinear, so they differ where the reference blurs twice or skips pixels. On a smooth image the mean
absolute difference stays under 0.0005 (of a range of 1) and 99 % of all values agree within 0.002; on a photo the
mean stays under 0.015. The black outside agrees but for its one-pixel border (mean under 0.012). Gradients, summed
over 4 x 4 px, point the same way (cosine over 0.999).
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.reference import two_step_view
from clipstyler import patches
from clipstyler.imaging import decode, fit

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
COUNT = 8


def smooth_image(height: int = 160, width: int = 200) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 6, height), torch.linspace(0, 6, width), indexing="ij")
    return torch.stack([x.sin(), y.cos(), (x + y).sin()])[None] / 2 + 0.5


def photo(size: int = 256) -> Tensor:
    rgb = torch.from_numpy(fit(decode(PHOTO.read_bytes()), size).rgb.copy())
    return rgb.permute(2, 0, 1)[None].float() / 255


def both(image: Tensor, side: int, view_size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    origins = patches.sample_origins(COUNT, side, image.shape[-2], image.shape[-1], generator)
    views = patches.sample_quadrilaterals(COUNT, side, generator)
    ours = patches.warp(image, origins, patches.perspectives(views, side), side, view_size)
    plain = [two_step_view(image, o, v, side, view_size) for o, v in zip(origins, views, strict=True)]
    return ours, torch.cat(plain)


# Enlarging as at the paper's setting (128 to 224), about one to one, and shrinking as with a small encoder.
SIZES = [(64, 112), (64, 64), (96, 48)]


@pytest.mark.parametrize(("side", "view_size"), SIZES)
def test_on_a_smooth_image_both_agree(side: int, view_size: int) -> None:
    ours, plain = both(smooth_image(), side, view_size)
    our_mask, plain_mask = both(torch.ones_like(smooth_image()), side, view_size)
    difference = (ours - plain).abs()[(our_mask > 0.99) & (plain_mask > 0.99)]
    assert difference.mean() < 0.0005
    assert torch.quantile(difference, 0.99) < 0.002


@pytest.mark.parametrize(("side", "view_size"), SIZES)
def test_on_a_photo_both_agree(side: int, view_size: int) -> None:
    ours, plain = both(photo(), side, view_size)
    assert (ours - plain).abs().mean() < 0.015


@pytest.mark.parametrize(("side", "view_size"), SIZES)
def test_the_same_places_are_black(side: int, view_size: int) -> None:
    ours, plain = both(torch.ones(1, 1, 160, 200), side, view_size)
    assert (ours - plain).abs().mean() < 0.012
    assert 0.3 < (ours < 0.5).float().mean() < 0.6  # some 44 % of a view is black on average


@pytest.mark.parametrize(("side", "view_size"), SIZES)
def test_the_gradients_agree(side: int, view_size: int) -> None:
    """Compared after a blur, since the two resamplings spread a gradient over neighbors differently."""
    weights = torch.rand(1, 3, view_size, view_size, generator=torch.Generator().manual_seed(1))
    gradients = []
    for index in (0, 1):
        image = smooth_image().requires_grad_(True)
        (both(image, side, view_size)[index] * weights).sum().backward()
        assert image.grad is not None
        gradients.append(torch.nn.functional.avg_pool2d(image.grad, 4))
    ours, plain = gradients
    assert torch.nn.functional.cosine_similarity(ours.flatten(), plain.flatten(), dim=0) > 0.999
