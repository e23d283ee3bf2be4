"""The losses at the points where formulas go wrong."""

import pytest
import torch

from clipstyler import losses
from clipstyler.config import TvForm


def test_threshold_rejection_zeroes_low_losses_and_keeps_high_ones() -> None:
    kept = losses.threshold_rejection(torch.tensor([0.2, 0.7, 0.71, 1.5]), tau=0.7)
    assert kept.tolist() == pytest.approx([0, 0, 0.71, 1.5])


def test_rejected_patches_still_divide_the_mean() -> None:
    patch_losses = torch.tensor([0.1, 0.1, 0.1, 1.0])
    assert losses.patch_clip_loss(patch_losses, tau=0.7).item() == pytest.approx(0.25)
    assert losses.patch_clip_loss(patch_losses, tau=None).item() == pytest.approx(0.325)


def test_rejected_patches_get_no_gradient() -> None:
    patch_losses = torch.tensor([0.1, 1.0], requires_grad=True)
    losses.patch_clip_loss(patch_losses, tau=0.7).backward()
    assert patch_losses.grad is not None
    assert patch_losses.grad.tolist() == pytest.approx([0, 0.5])


@pytest.mark.parametrize(("cosine", "expected"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 2.0)])
def test_directional_loss_runs_from_zero_to_two(cosine: float, expected: float) -> None:
    direction = torch.tensor([1.0, 0.0])
    moved = torch.tensor([[cosine, (1 - cosine**2) ** 0.5]])
    assert losses.directional_loss(moved, torch.zeros(1, 2), direction).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", list(TvForm))
def test_a_flat_image_has_no_variation_and_a_finite_gradient(form: TvForm) -> None:
    flat = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    variation = losses.total_variation(flat, form)
    variation.backward()
    assert variation.item() == 0
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
