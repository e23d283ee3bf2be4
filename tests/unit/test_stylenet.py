"""StyleNet: its size, its shapes, and where its randomness comes from."""

import pytest
import torch

from clipstyler import recomputation
from clipstyler.stylenet import Arithmetic, StyleNet


def net(seed: int = 0) -> StyleNet:
    return StyleNet.initialize(torch.Generator().manual_seed(seed))


def test_it_has_exactly_the_parameters_of_the_paper() -> None:
    assert sum(parameter.numel() for parameter in net().parameters()) == 615_267


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 40), (128, 256)])
def test_it_keeps_the_shape_and_stays_in_range(height: int, width: int) -> None:
    photo = torch.rand(1, 3, height, width)
    output = net()(photo)
    assert output.shape == photo.shape
    assert 0 <= output.min() < output.max() <= 1


def test_one_seed_gives_one_network_and_another_seed_another() -> None:
    first, again, other = (torch.cat([p.flatten() for p in net(seed).parameters()]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_initializing_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    net()
    assert torch.equal(before, torch.get_rng_state())


def test_weights_are_spread_as_the_default_of_the_framework() -> None:
    """Uniform within 1 / sqrt(fan-in), which is what `nn.Conv2d` draws from the global generator."""
    torch.manual_seed(0)
    plain = StyleNet()
    for (name, ours), theirs in zip(net().named_parameters(), plain.parameters(), strict=True):
        if ours.numel() > 1000:
            assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.15), name


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_large_photos_give_the_same_bits_with_activations_computed_again(
    monkeypatch: pytest.MonkeyPatch, channels_last: bool, mirrored: bool
) -> None:
    outcomes = []
    saved: list[int] = []

    def measure(kept: torch.Tensor) -> torch.Tensor:
        saved[-1] += kept.numel()
        return kept

    for limit in (64 * 40, 64 * 40 - 1):
        monkeypatch.setattr(recomputation, "RECOMPUTED_PIXELS", limit)
        model = StyleNet.initialize(
            torch.Generator().manual_seed(0), arithmetic=Arithmetic(channels_last), mirrored=mirrored
        )
        saved.append(0)
        with torch.autograd.graph.saved_tensors_hooks(measure, lambda kept: kept):
            output = model(torch.rand(1, 3, 64, 40, generator=torch.Generator().manual_seed(1)))
        output.square().mean().backward()
        outcomes.append([output.detach(), *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(kept, again) for kept, again in zip(*outcomes, strict=True))
    assert saved[1] < saved[0] / 2


def test_every_parameter_gets_a_gradient() -> None:
    model = net()
    model(torch.rand(1, 3, 32, 32)).square().mean().backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unused == []
