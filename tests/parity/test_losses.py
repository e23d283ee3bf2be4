"""Every loss, value and gradient, against the plain formula of the method; tolerance 1e-5 relative."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import reference
from clipstyler import losses
from clipstyler.config import TvForm

TOLERANCE = {"rtol": 1e-5, "atol": 1e-7}
DIMENSION = 16


def assert_same(ours: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], point: Tensor) -> None:
    """Compare values and gradients of two scalar functions at a point."""
    results = []
    for function in (ours, plain):
        x = point.clone().requires_grad_(True)
        value = function(x)
        (gradient,) = torch.autograd.grad(value, x)
        results.append((value.detach(), gradient))
    torch.testing.assert_close(results[0][0], results[1][0], **TOLERANCE)
    torch.testing.assert_close(results[0][1], results[1][1], **TOLERANCE)
    assert results[0][1].abs().max() > 0


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def direction(generator: torch.Generator) -> Tensor:
    return torch.randn(DIMENSION, generator=generator)


def test_directional_loss(generator: torch.Generator, direction: Tensor) -> None:
    content = F.normalize(torch.randn(1, DIMENSION, generator=generator), dim=1)
    assert_same(
        lambda x: losses.directional_loss(F.normalize(x, dim=1), content, direction)[0],
        lambda x: 1 - reference.cosine(F.normalize(x, dim=1)[0] - content[0], direction),
        torch.randn(1, DIMENSION, generator=generator),
    )


@pytest.mark.parametrize("tau", [0.0, 0.9, 1.0])
def test_patch_clip_loss(generator: torch.Generator, direction: Tensor, tau: float) -> None:
    content = F.normalize(torch.randn(1, DIMENSION, generator=generator), dim=1)
    assert_same(
        lambda x: losses.patch_clip_loss(losses.directional_loss(F.normalize(x, dim=1), content, direction), tau),
        lambda x: reference.patch_clip_loss(F.normalize(x, dim=1), content[0], direction, tau),
        torch.randn(12, DIMENSION, generator=generator),
    )


def test_content_loss(generator: torch.Generator) -> None:
    targets = [torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 8, 4, 4, generator=generator)]

    def features(x: Tensor) -> list[Tensor]:
        return [x.repeat(1, 4, 1, 1), F.avg_pool2d(x, 2).repeat(1, 8, 1, 1)]

    assert_same(
        lambda x: losses.content_loss(features(x), targets),
        lambda x: reference.content_loss(features(x), targets),
        torch.randn(1, 1, 8, 8, generator=generator),
    )


def test_total_variation_as_the_code_has_it(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 9, 13, generator=generator)
    assert_same(lambda x: losses.total_variation(x, TvForm.NORM), reference.total_variation_norm, image)


def test_total_variation_as_the_paper_prints_it(generator: torch.Generator) -> None:
    def plain(x: Tensor) -> Tensor:
        total = torch.zeros(())
        height, width = x.shape[-2:]
        for row in range(height):
            for column in range(width):
                here = x[..., row, column]
                for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    if row + down < height and 0 <= column + right < width:
                        total = total + (x[..., row + down, column + right] - here).square().sum()
        return total

    image = torch.rand(1, 3, 5, 7, generator=generator)
    assert_same(lambda x: losses.total_variation(x, TvForm.SQUARED), plain, image)


def test_text_loss_is_one_minus_the_cosine(generator: torch.Generator, direction: Tensor) -> None:
    text = F.normalize(direction, dim=0)
    views = torch.randn(5, DIMENSION, generator=generator)
    assert_same(
        lambda x: losses.text_loss(F.normalize(x, dim=1), text).sum(),
        lambda x: (1 - F.cosine_similarity(x, text[None], dim=1)).sum(),
        views,
    )
