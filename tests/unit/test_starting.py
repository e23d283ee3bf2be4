"""The start in closed form: a weighted least squares fit of StyleNet's head."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from clipstyler_server.jobs.stored_forms import dump_spec, load_spec
from torch.nn import functional as F

from clipstyler import starting
from clipstyler.config import Calibration, Start
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
from clipstyler.starting import behind, fit, show
from clipstyler.stylenet import StyleNet

SIZES = [(16, 16), (24, 40), (8, 64)]


def features_and_target(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random features, a picture, and logits that are there already."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, 16, height, width, generator=generator)
    target = torch.rand(1, 3, height, width, generator=generator)
    return features, target, torch.randn(1, 3, height, width, generator=generator)


def smooth(height: int, width: int) -> torch.Tensor:
    """A photo without detail."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def applied(weights: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    return F.conv2d(features.double(), weights[:, :-1, None, None], weights[:, -1])


def plain_fit(features: torch.Tensor, target: torch.Tensor, logits: torch.Tensor) -> np.ndarray:
    """Each color on its own: rows times the roots of their weights and of the ridge, by NumPy's least squares."""
    x = np.vstack([features[0].flatten(1).double().numpy(), np.ones(features[0, 0].numel())]).T
    found = []
    for color, known in zip(target[0].flatten(1).double().numpy(), logits[0].flatten(1).double().numpy(), strict=True):
        wanted = np.clip(color, 0.02, 0.98)
        root = np.sqrt(wanted * (1 - wanted))
        rows, right = x * root[:, None], (np.log(wanted / (1 - wanted)) - known) * root
        ridge = np.sqrt(1e-4 * np.mean(np.sum(rows**2, axis=0))) * np.eye(x.shape[1])[:-1]
        rows, right = np.vstack([rows, ridge]), np.concatenate([right, np.zeros(len(ridge))])
        found.append(np.linalg.lstsq(rows, right, rcond=None)[0])
    return np.stack(found)


@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 31), (33, 17)])
def test_the_fit_is_the_weighted_least_squares_solution(height: int, width: int) -> None:
    found = fit(*features_and_target(height, width))
    assert found.shape == (3, 17)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), plain_fit(*features_and_target(height, width)), atol=1e-9)


def test_blocks_do_not_change_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    given = features_and_target(33, 17)
    whole = fit(*given)
    monkeypatch.setattr(starting, "_BLOCK", 50)
    torch.testing.assert_close(fit(*given), whole, rtol=1e-10, atol=1e-10)


def test_what_is_missing_is_found_again() -> None:
    features, _, logits = features_and_target(20, 30)
    missing = torch.randn(3, 17, generator=torch.Generator().manual_seed(5), dtype=torch.float64) / 8
    target = torch.sigmoid(logits / 4 + applied(missing, features))
    torch.testing.assert_close(fit(features, target, logits / 4), missing, atol=2e-3, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_features_that_are_all_alike_leave_everything_to_the_bias(value: float) -> None:
    """As of a photo in one color: the matrix of the fit is singular without its ridge."""
    target = torch.full((1, 3, 9, 7), value)
    for features in (torch.zeros(1, 16, 9, 7), torch.full((1, 16, 9, 7), 2.0)):
        shown = torch.sigmoid(applied(fit(features, target, torch.zeros_like(target)), features))
        assert (shown - target).abs().max() < 0.021


def test_colors_at_the_ends_of_the_range_keep_the_weights_finite() -> None:
    features, target, logits = features_and_target(16, 16)
    target[:, 0], target[:, 1] = 0, 1
    assert torch.isfinite(fit(features, target, logits)).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_network_shows_what_is_returned_and_comes_nearer_to_the_picture(height: int, width: int) -> None:
    net = StyleNet.initialize(torch.Generator().manual_seed(1))
    photo = smooth(height, width)
    with torch.no_grad():
        before = net(photo)
        shown = show(net, photo, photo)
        torch.testing.assert_close(net(photo), shown)
    assert shown.shape == photo.shape
    assert F.mse_loss(shown, photo) < 0.5 * F.mse_loss(before, photo)
    assert not shown.requires_grad
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize("kind", ["one color", "gray", "black and white"])
def test_pictures_without_color_keep_the_weights_moderate(kind: str) -> None:
    """The colors of a gray picture are one direction, those of a plain one are none: nothing to divide by."""
    photo = smooth(16, 24)
    gray = photo.mean(dim=1, keepdim=True).expand_as(photo)
    photo, target = {
        "one color": (torch.full_like(photo, 0.3), torch.full_like(photo, 0.3)),
        "gray": (photo, gray),
        "black and white": (photo, (gray > 0.5).float()),
    }[kind]
    net = StyleNet.initialize(torch.Generator().manual_seed(1))
    shown = show(net, photo, target)
    assert F.l1_loss(shown, target) < 0.2
    assert all(weight.abs().max() < 50 for weight in net.parameters())


def test_only_the_head_and_the_last_shortcut_are_set_and_the_same_way_each_time() -> None:
    photo = smooth(16, 24)
    nets = [StyleNet.initialize(torch.Generator().manual_seed(1)) for _ in range(3)]
    for net in nets[1:]:
        show(net, photo, 1 - photo)
    fresh, first, second = (net.state_dict() for net in nets)
    changed = {name for name in fresh if not torch.equal(fresh[name], first[name])}
    assert changed == {"head.weight", "head.bias", "last.skip.weight"}
    assert all(torch.equal(first[name], second[name]) for name in fresh)


def test_what_lies_beyond_the_picture_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, shapes = smooth(16, 24), []

    def spy(*given: torch.Tensor) -> torch.Tensor:
        shapes.extend(tuple(part.shape[-2:]) for part in given)
        return fit(*given)

    monkeypatch.setattr(starting, "fit", spy)
    shown = show(StyleNet.initialize(torch.Generator().manual_seed(1)), photo, photo[..., :13, :21])
    assert shown.shape == photo.shape
    assert shapes == [(13, 21)] * 6


def test_a_head_turns_the_weights_behind_it_into_the_wanted_ones() -> None:
    generator = torch.Generator().manual_seed(3)
    head, wanted = (torch.randn(3, n, generator=generator, dtype=torch.float64) for n in (16, 32))
    found = behind(head, wanted)
    assert found.shape == (16, 32)
    torch.testing.assert_close(head @ found, wanted)


@pytest.mark.parametrize("colorfulness", [0, 1e-9, 1e-5])
def test_a_head_almost_without_color_asks_for_no_large_weights(colorfulness: float) -> None:
    generator = torch.Generator().manual_seed(3)
    gray = torch.randn(1, 16, generator=generator, dtype=torch.float64).expand(3, 16)
    head = gray + colorfulness * torch.randn(3, 16, generator=generator, dtype=torch.float64)
    wanted = torch.randn(3, 32, generator=generator, dtype=torch.float64)
    found = behind(head, wanted)
    assert found.abs().max() < 2
    torch.testing.assert_close((head @ found).mean(dim=0), wanted.mean(dim=0), atol=1e-3, rtol=0)
    assert behind(colorfulness * head, wanted).abs().max() < 2


def test_a_failed_forward_pass_leaves_no_hook_behind() -> None:
    net = StyleNet.initialize(torch.Generator().manual_seed(1))
    with pytest.raises(RuntimeError):
        show(net, torch.zeros(1, 4, 16, 16), torch.zeros(1, 3, 16, 16))
    assert not net.head._forward_pre_hooks
    assert not net.last.skip._forward_pre_hooks


def test_a_job_that_was_stored_before_the_option_existed_starts_as_it_did_then() -> None:
    encoders = {"pocket": Calibration(start=Start.RANDOM, warm_up=20)}
    stored = json.loads(dump_spec(resolve_spec(SpecRequest("fire"), encoders, SpecLimits())))
    del stored["config"]["start"]
    config = load_spec(json.dumps(stored)).config
    assert (config.start, config.warm_up) == (Start.RANDOM, 20)
