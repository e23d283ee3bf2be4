"""Crops, quadrilaterals, homographies and the warp."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipstyler import patches
from clipstyler.config import AugmentFill


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(8, 60), st.integers(60, 200), st.integers(60, 120), st.integers(0, 100))
def test_crops_lie_inside_the_image(side: int, height: int, width: int, seed: int) -> None:
    origins = patches.sample_origins(50, side, height, width, generator(seed))
    assert origins.min() >= 0
    assert (origins + side <= torch.tensor([width, height])).all()


def test_crops_reach_every_place() -> None:
    origins = patches.sample_origins(4000, 8, 10, 9, generator())
    assert sorted(set(map(tuple, origins.int().tolist()))) == [(x, y) for x in range(2) for y in range(3)]


def test_an_overhang_shows_the_border_as_often_as_the_middle() -> None:
    def seen(overhang: int) -> tuple[float, float]:
        origins = patches.sample_origins(20_000, 20, 100, 100, generator(), overhang)[:, 0]
        covered = [float(((origins <= x) & (x < origins + 20)).float().mean()) for x in (0, 50)]
        return covered[0], covered[1]

    plain, even = seen(0), seen(10)
    assert plain[0] < 0.1 * plain[1]
    assert even[0] > 0.4 * even[1]
    origins = patches.sample_origins(5000, 20, 40, 60, generator(), 15)
    assert origins.min() == 0
    assert origins.max(dim=0).values.tolist() == [40, 20]


def test_corners_move_inward_by_up_to_a_quarter_of_the_side() -> None:
    side = 100
    moved = patches.sample_quadrilaterals(5000, side, generator()) - patches.corners(side)
    inward = moved * torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    assert inward.min() >= 0
    assert 24.9 < inward.max() <= 25
    assert inward.mean().item() == pytest.approx(12.5, abs=0.2)


def test_homographies_map_the_given_points() -> None:
    source = patches.sample_quadrilaterals(20, 64, generator(1))
    target = patches.sample_quadrilaterals(20, 128, generator(2))
    matrices = patches.homographies(source, target)
    homogeneous = torch.cat([source, torch.ones(20, 4, 1, dtype=source.dtype)], dim=2) @ matrices.transpose(1, 2)
    torch.testing.assert_close(homogeneous[..., :2] / homogeneous[..., 2:], target)


def test_a_crop_of_the_views_size_is_a_plain_cut() -> None:
    image = torch.rand(1, 3, 40, 50, generator=generator())
    origins = torch.tensor([[3.0, 5.0], [20.0, 10.0]])
    views = patches.crop(image, origins, 16, 16)
    cuts = torch.cat([image[..., 5:21, 3:19], image[..., 10:26, 20:36]])
    torch.testing.assert_close(views, cuts, atol=1e-5, rtol=0)


def test_outside_the_quadrilateral_it_is_black_or_the_neighbors() -> None:
    image = torch.ones(1, 3, 64, 64)
    origins = torch.zeros(1, 2)
    views = patches.perspectives(
        patches.corners(32)[None] * 0.5 + 8, 32
    )  # the crop fills the middle quarter of its view
    black = patches.warp(image, origins, views, 32, 32, AugmentFill.BLACK)
    context = patches.warp(image, origins, views, 32, 32, AugmentFill.CONTEXT)
    assert black[..., :7, :].max() == 0
    assert black[..., 10:22, 10:22].min() == 1
    torch.testing.assert_close(context, torch.ones_like(context))


def test_shrinking_skips_no_pixel() -> None:
    """Fine stripes shrunk to a third must become gray, not stripes: else the optimizer hides noise in them."""
    stripes = torch.zeros(1, 1, 96, 96)
    stripes[..., ::2] = 1
    square = patches.perspectives(patches.corners(96)[None], 96)
    for view in (patches.warp(stripes, torch.zeros(1, 2), square, 96, 32), patches.resize(stripes, 32)):
        assert (view[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.2


def test_every_pixel_of_the_crop_gets_a_gradient_when_shrinking() -> None:
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    views = patches.perspectives(patches.sample_quadrilaterals(1, 64, generator()), 64)
    patches.warp(image, torch.zeros(1, 2), views, 64, 24).sum().backward()
    assert image.grad is not None
    assert (image.grad[..., 2:-2, 2:-2] > 0).float().mean() > 0.99


def test_one_seed_gives_one_set_of_patches() -> None:
    draws = [patches.sample_quadrilaterals(4, 32, generator(seed)) for seed in (7, 7, 8)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
