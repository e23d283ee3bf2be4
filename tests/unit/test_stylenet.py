"""StyleNet: its size, its shapes, and where its randomness comes from."""

import pytest
import torch

from clipstyler.stylenet import StyleNet


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


def test_every_parameter_gets_a_gradient() -> None:
    model = net()
    model(torch.rand(1, 3, 32, 32)).square().mean().backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unused == []
