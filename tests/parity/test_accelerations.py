"""Accelerations against the plain formulas: interleaved channels within rounding, bfloat16 within its own precision."""

from __future__ import annotations

import copy
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler.acceleration import NONE, Accelerations
from clipstyler.config import resolve
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.frozen_vit import optimize_in_place, to_bf16
from clipstyler.imaging import Picture
from clipstyler.interleaved_norm import InterleavedNormReLU
from clipstyler.run_state import RunState
from clipstyler.stylenet import Arithmetic, StyleNet
from clipstyler.stylizer import step
from tests.running import text_direction

BF16 = Accelerations(bf16=True)
STEPS = 6
INTERLEAVED = Accelerations(channels_last=True)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def plain_norm_relu(x: Tensor) -> Tensor:
    return F.relu(F.instance_norm(x))


def with_gradient(function: nn.Module | object, x: Tensor, seed: int = 1) -> tuple[Tensor, Tensor]:
    entered = x.detach().requires_grad_()
    out = function(entered)
    out.backward(random(*out.shape, seed=seed).to(out))
    assert entered.grad is not None
    return out.detach(), entered.grad


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 4, 6, 3), (3, 1, 2, 9)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_gradient_of_the_norm_is_the_derivative(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = random(*shape).double().contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(InterleavedNormReLU(), x)


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 4, 6, 3), (2, 8, 33, 17)])
def test_the_norm_is_the_frameworks_in_double_precision(shape: tuple[int, ...]) -> None:
    x = (random(*shape) * 3 + 5).double()
    found = with_gradient(InterleavedNormReLU(), x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, with_gradient(plain_norm_relu, x), rtol=1e-10, atol=1e-10)


def test_the_norm_is_accurate_over_a_large_image_in_single_precision() -> None:
    """PyTorch's own sums over channels-last images are a thousand times less accurate."""
    x = random(1, 4, 512, 512) * 3 + 5
    expected, slope = with_gradient(plain_norm_relu, x.double())
    found, gradient = with_gradient(InterleavedNormReLU(), x.contiguous(memory_format=torch.channels_last))
    assert relative(found, expected) < 5e-7
    assert relative(gradient, slope) < 2e-5


def test_the_norm_of_half_precision_is_computed_in_single_precision() -> None:
    x = (random(1, 4, 64, 64) * 3 + 20).bfloat16()
    expected, slope = with_gradient(plain_norm_relu, x.double())
    found, gradient = with_gradient(InterleavedNormReLU(), x.contiguous(memory_format=torch.channels_last))
    assert found.dtype == gradient.dtype == torch.bfloat16
    assert relative(found.double(), expected) < 3e-3
    assert relative(gradient.double(), slope) < 1e-2


def test_the_norm_keeps_the_layout() -> None:
    x = random(2, 4, 6, 8).contiguous(memory_format=torch.channels_last)
    for made in with_gradient(InterleavedNormReLU(), x):
        assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 40), (2, 24, 56)])
def test_stylenet_with_interleaved_channels_is_the_same_function(batch: int, height: int, width: int) -> None:
    photo = random(batch, 3, height, width).sigmoid()
    outcomes = []
    for channels_last in (False, True):
        net = StyleNet.initialize(torch.Generator().manual_seed(0), arithmetic=Arithmetic(channels_last))
        output = net(photo)
        (output * random(*output.shape)).sum().backward()
        gradients = {name: parameter.grad.contiguous() for name, parameter in net.named_parameters()}
        outcomes.append((output.detach(), gradients))
    (plain, slopes), (fast, found) = outcomes
    assert fast.is_contiguous()
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-5)
    assert found.keys() == slopes.keys()
    for name, slope in slopes.items():
        if not (".body." in name and name.endswith(".bias")):  # no effect before a normalization: noise
            assert relative(found[name], slope) < 1e-2, name


@pytest.mark.parametrize("mirrored", [False, True])
def test_both_layouts_are_one_function_in_double_precision_with_either_border(mirrored: bool) -> None:
    photo = random(2, 3, 24, 56).sigmoid().double()
    outcomes = []
    for channels_last in (False, True):
        net = StyleNet.initialize(
            torch.Generator().manual_seed(0), arithmetic=Arithmetic(channels_last), mirrored=mirrored
        )
        output = net.double()(photo)
        (output * random(*output.shape)).sum().backward()
        outcomes.append([output.detach(), *(parameter.grad for parameter in net.parameters())])
    for plain, fast in zip(*outcomes, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_the_vision_transformer_in_bf16_is_near_the_plain_one(quick_gelu: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = open_clip.CLIP(**TINY_CLIP, quick_gelu=quick_gelu).eval().requires_grad_(False)
    fast = copy.deepcopy(plain)
    optimize_in_place(fast)
    to_bf16(fast)
    views = random(3, 3, 32, 32, seed=2).sigmoid()
    (embeddings, slope), (found, gradient) = (with_gradient(m.encode_image, views) for m in (plain, fast))
    assert found.dtype == gradient.dtype == torch.float32
    assert 0 < relative(found, embeddings) < 5e-3
    assert 0 < relative(gradient, slope) < 2e-2


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoders(tmp_path_factory.mktemp("encoders") / "tiny", TINY_CLIP)


def test_content_features_in_bf16_are_near_the_plain_ones(directory: Path) -> None:
    image = random(1, 3, 48, 40, seed=3).sigmoid()
    plain, fast = (registry.load(str(directory), accelerations=a).content.features(image) for a in (NONE, BF16))
    for found, expected in zip(fast, plain, strict=True):
        assert found.dtype == torch.float32
        assert 0 < relative(found, expected) < 3e-2


def test_texts_are_embedded_as_before(directory: Path) -> None:
    plain, fast = (registry.load(str(directory), accelerations=a) for a in (NONE, BF16))
    assert torch.equal(plain.clip.encode_text(["fire"]), fast.clip.encode_text(["fire"]))


def curve(encoders: EncoderSet, steps: int) -> list[float]:
    pixels = (random(64, 64, 3, seed=4).sigmoid() * 255).byte().numpy()
    config = resolve(encoders.calibration, size=64, steps=steps, patches=4)
    state = RunState(Picture(pixels), text_direction(encoders, "fire", "a Photo", "plain"), encoders, config, seed=0)
    return [step([state])[0].losses.total for _ in range(steps)]


@pytest.fixture(scope="module")
def plain_curve(directory: Path) -> list[float]:
    return curve(registry.load(str(directory)), STEPS)


@pytest.mark.parametrize("accelerations", [BF16, INTERLEAVED, Accelerations(bf16=True, channels_last=True)], ids=str)
def test_loss_curves_stay_within_a_hundredth(
    directory: Path, plain_curve: list[float], accelerations: Accelerations
) -> None:
    encoders = registry.load(str(directory), accelerations=accelerations)
    assert curve(encoders, STEPS) == pytest.approx(plain_curve, rel=0.01)


def test_encoders_report_what_they_use(directory: Path) -> None:
    everything = Accelerations(memory=True, bf16=True, channels_last=True)
    assert registry.load("pocket", accelerations=everything).accelerations == INTERLEAVED
    used = registry.load(str(directory), accelerations=everything).accelerations
    assert used == Accelerations(bf16=True, channels_last=True)
    assert registry.load("pocket").accelerations == NONE
