"""The start in closed form: a weighted least squares fit of StyleNet's head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipstyler import starting
from clipstyler.starting import fit_head, show
from clipstyler.stylenet import StyleNet

SIZES = [(16, 16), (24, 40), (8, 64)]


def features_and_target(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, 16, height, width, generator=generator)
    return features, torch.rand(1, 3, height, width, generator=generator)


def applied(head: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(F.conv2d(features.double(), head[:, :-1, None, None], head[:, -1]))


def plain_fit(features: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """Each color on its own: rows of the square-rooted weights, solved by NumPy's least squares."""
    x = np.vstack([features[0].flatten(1).double().numpy(), np.ones(features[0, 0].numel())]).T
    heads = []
    for color in target[0].flatten(1).double().numpy():
        wanted = np.clip(color, 0.05, 0.95)
        root = wanted * (1 - wanted)
        heads.append(np.linalg.lstsq(x * root[:, None], np.log(wanted / (1 - wanted)) * root, rcond=None)[0])
    return np.stack(heads)


@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 31), (33, 17)])
def test_the_fit_is_the_weighted_least_squares_solution(height: int, width: int) -> None:
    features, target = features_and_target(height, width)
    found = fit_head(features, target)
    assert found.shape == (3, 17)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), plain_fit(features, target), atol=2e-4)


def test_blocks_do_not_change_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    features, target = features_and_target(33, 17)
    whole = fit_head(features, target)
    monkeypatch.setattr(starting, "_BLOCK", 50)
    torch.testing.assert_close(fit_head(features, target), whole, rtol=1e-10, atol=1e-10)


def test_a_head_that_exists_is_found_again() -> None:
    features, _ = features_and_target(20, 30)
    head = torch.randn(3, 17, generator=torch.Generator().manual_seed(5), dtype=torch.float64) / 8
    torch.testing.assert_close(fit_head(features, applied(head, features)), head, atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_features_that_are_all_alike_leave_everything_to_the_bias(value: float) -> None:
    """As of a photo in one color: the matrix of the fit is singular without its ridge."""
    target = torch.full((1, 3, 9, 7), value)
    for features in (torch.zeros(1, 16, 9, 7), torch.full((1, 16, 9, 7), 2.0)):
        shown = applied(fit_head(features, target), features)
        assert (shown - target).abs().max() < 0.051


def test_a_color_at_the_end_of_the_range_keeps_the_head_finite() -> None:
    features, target = features_and_target(16, 16)
    target[:, 0], target[:, 1] = 0, 1
    assert torch.isfinite(fit_head(features, target)).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_network_shows_what_is_returned_and_comes_nearer_to_the_picture(height: int, width: int) -> None:
    net = StyleNet.initialize(torch.Generator().manual_seed(1))
    photo = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = net(photo)
        shown = show(net, photo, photo)
        torch.testing.assert_close(net(photo), shown)
    assert shown.shape == photo.shape
    assert F.mse_loss(shown, photo) < 0.8 * F.mse_loss(before, photo)
    assert not shown.requires_grad
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())


def test_only_the_head_is_set_and_the_same_way_each_time() -> None:
    photo = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    nets = [StyleNet.initialize(torch.Generator().manual_seed(1)) for _ in range(3)]
    for net in nets[1:]:
        show(net, photo, 1 - photo)
    fresh, first, second = (net.state_dict() for net in nets)
    changed = {name for name in fresh if not torch.equal(fresh[name], first[name])}
    assert changed == {"head.weight", "head.bias"}
    assert all(torch.equal(first[name], second[name]) for name in fresh)


def test_what_lies_beyond_the_picture_does_not_count() -> None:
    photo = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    net = StyleNet.initialize(torch.Generator().manual_seed(1))
    target = photo[..., :13, :21]
    shown = show(net, photo, target)
    again = StyleNet.initialize(torch.Generator().manual_seed(1))
    unlike = torch.cat([photo[..., :13, :], 1 - photo[..., 13:, :]], dim=2)
    assert shown.shape == photo.shape
    torch.testing.assert_close(show(again, photo, unlike[..., :13, :21]), shown)


def test_a_failed_forward_pass_leaves_no_hook_behind() -> None:
    net = StyleNet.initialize(torch.Generator().manual_seed(1))
    with pytest.raises(RuntimeError):
        show(net, torch.zeros(1, 4, 16, 16), torch.zeros(1, 3, 16, 16))
    assert not net.head._forward_pre_hooks
