"""StyleNet with its normalization fixed: the same picture as StyleNet's plain form draws, at every border."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipstyler import fixed_net
from clipstyler.fixed_net import FixedNet
from clipstyler.interruption import StopPoints
from clipstyler.stylenet import Arithmetic, ResidualBlock, StyleNet

TOLERANCE = 1e-4  # of values in [0, 1], rounding: a fortieth of what 8 bits can show


def network(*, mirrored: bool, channels_last: bool = False) -> StyleNet:
    generator = torch.Generator().manual_seed(3)
    net = StyleNet.initialize(generator, arithmetic=Arithmetic(channels_last=channels_last), mirrored=mirrored)
    with torch.no_grad():
        net.head.weight.mul_(4)  # not gray
    return net


def image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


class Recorded(nn.Module):
    """Instance normalization by the statistics of the first image, as a formula; then ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.statistics is None:
            wide = x.double()
            self.statistics = wide.mean((2, 3), keepdim=True), wide.var((2, 3), keepdim=True, correction=0)
        mean, variance = self.statistics
        return ((x - mean) / torch.sqrt(variance + 1e-5)).float().relu()


def plain(net: StyleNet, seen: Tensor) -> StyleNet:
    """The same as StyleNet itself: with joined maps, padded copies, and its normalization by the formula."""
    made = copy.deepcopy(net)
    for block in made.modules():
        if isinstance(block, ResidualBlock):
            block.body[1], block.body[3] = Recorded(), Recorded()
    made(seen)
    return made


@torch.no_grad()
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("mirrored", "large_from"), [(False, 0), (True, 0), (True, 2**12), (True, 2**30)])
@pytest.mark.parametrize("sides", [(48, 64), (16, 16), (16, 200)])
def test_it_draws_what_stylenet_draws(
    sides: tuple[int, int], mirrored: bool, large_from: int, channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed_net, "_LARGE_MAP_VALUES", large_from)
    net, seen = network(mirrored=mirrored, channels_last=channels_last), image(48, 64)
    fixed = FixedNet(net)
    torch.testing.assert_close(fixed(seen), net(seen), atol=TOLERANCE, rtol=0)
    other = image(*sides, seed=1)
    expected = plain(net, seen)(other)
    assert expected.std() > 0.02
    torch.testing.assert_close(fixed(other), expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_only_the_first_image_fixes_it() -> None:
    fixed = FixedNet(network(mirrored=True))
    fixed(image(32, 32))
    before = fixed(image(40, 24, seed=1))
    fixed(3 * image(64, 64, seed=2))
    assert torch.equal(fixed(image(40, 24, seed=1)), before)


@torch.no_grad()
def test_flat_images_are_normalized_without_loss() -> None:
    net = network(mirrored=True)
    flat = 0.5 + 1e-3 * image(64, 64)
    torch.testing.assert_close(FixedNet(net)(flat), plain(net, flat)(flat), atol=1e-3, rtol=0)


@torch.no_grad()
def test_the_network_is_left_as_it_is() -> None:
    net = network(mirrored=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    FixedNet(net)(image(32, 32))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize(
    ("kernel", "stride", "sides"),
    [(3, 1, (2, 2)), (3, 1, (2, 10)), (3, 1, (20, 33)), (4, 2, (4, 4)), (4, 2, (6, 4)), (4, 2, (20, 34))],
)
def test_a_mirrored_border_is_that_of_a_padded_copy(kernel: int, stride: int, sides: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.rand(shape, generator=generator) for shape in ((1, 5, *sides), (7, 5, kernel, kernel), 7))
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, bias, stride)
    torch.testing.assert_close(fixed_net._convolve_border_again(x, weight, bias, stride, 1), expected)


@torch.no_grad()
def test_it_can_be_stopped_after_every_convolution() -> None:
    fixed = FixedNet(network(mirrored=True))
    fixed(image(32, 32))
    checks: list[None] = []
    with StopPoints(lambda: checks.append(None), fixed):
        fixed(image(32, 32))
    convolutions = [part for part in network(mirrored=True).modules() if isinstance(part, nn.Conv2d)]
    assert len(checks) > len(convolutions)


def test_another_device_than_the_processor_pads_a_copy() -> None:
    x, weight = torch.empty(1, 5, 6, 8, device="meta"), torch.empty(7, 5, 4, 4, device="meta")
    found = fixed_net._convolve_mirrored(x, weight, torch.empty(7, device="meta"), 2, 1)
    assert found.shape == (1, 7, 3, 4)
