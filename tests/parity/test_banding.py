"""Less memory, the same function: bands, activations computed again, and terms that are differentiated one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler import bands, recomputation, run_state, stylenet
from clipstyler.banding import Part, convolved_in_bands, in_bands
from clipstyler.config import Start, resolve
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet
from clipstyler.fitted_net import Fit
from clipstyler.imaging import Picture
from clipstyler.pocket import towers
from clipstyler.preparation import prepare
from clipstyler.run_state import RunState
from clipstyler.starting import show
from clipstyler.stylenet import Arithmetic, ResidualBlock, StyleNet
from clipstyler.stylizer import step
from tests.running import text_direction

PHOTO = Picture(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part of the small pictures here is banded, if bands are asked for."""
    monkeypatch.setattr(stylenet, "_BANDED_PART_PIXELS", 64)
    monkeypatch.setattr(bands, "_BAND_VALUES", 16 * 16 * 8)


def gradients(part: Part, run: object, inputs: list[Tensor], weight: Tensor) -> list[Tensor]:
    entered = [x.detach().requires_grad_() for x in inputs]
    parameters = part.parameters()
    for parameter in parameters:
        parameter.grad = None
    out = run(*entered)
    (out * weight).sum().backward()
    return [out.detach(), *(x.grad for x in entered), *(parameter.grad for parameter in parameters)]


@pytest.mark.parametrize("height", [8, 20, 64])
@pytest.mark.parametrize("rows", [4, 12, 100])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_part_in_bands_is_the_part_in_double_precision(
    height: int, rows: int, mirrored: bool, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an input of half the size, and what is local before and after it."""
    width = 10
    monkeypatch.setattr(bands, "_BAND_VALUES", 5 * rows * width)
    block, head = ResidualBlock(5, 4, mirrored=mirrored).double(), nn.Conv2d(4, 3, 1).double()
    with torch.no_grad():
        for seed, parameter in enumerate([*block.parameters(), *head.parameters()]):
            parameter.copy_(random(*parameter.shape, seed=seed) / 2)

    def before(x: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), skip], dim=1)

    part = Part(block, before, head, (2, 1), (block,), (head,))
    inputs = [random(batch, 2, height // 2, width // 2).double(), random(batch, 3, height, width, seed=1).double()]
    weight = random(batch, 3, height, width, seed=2).double()
    plain = gradients(part, part, inputs, weight)
    banded = gradients(part, lambda *x: in_bands(part, *x), inputs, weight)
    for name, found, expected in zip(range(len(plain)), banded, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, msg=str(name))


def test_inputs_that_want_no_gradient_get_none() -> None:
    block = ResidualBlock(3, 4)
    part = Part(block, lambda x: x, lambda x: x, (1,), (block,))
    photo = random(1, 3, 16, 8)
    in_bands(part, photo).sum().backward()
    assert photo.grad is None
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 0.03)])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_stylenet_in_bands_is_the_same_function(
    large: bool,
    channels_last: bool,
    mirrored: bool,
    dtype: torch.dtype,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exactly in double precision. In single precision, both are a hundredth off: the smallest maps have 48 pixels."""
    if large:
        monkeypatch.setattr(stylenet, "LARGE_PIXELS", 1)
    photo = random(1, 3, 64, 48).sigmoid().to(dtype)
    weight = random(1, 3, 64, 48, seed=3).to(dtype)
    outcomes = []
    for banded in (False, True):
        net = StyleNet.initialize(
            torch.Generator().manual_seed(0), arithmetic=Arithmetic(channels_last), mirrored=mirrored
        )
        output = net.to(dtype)(photo, banded=banded)
        (output * weight).sum().backward()
        slopes = {name: parameter.grad for name, parameter in net.named_parameters()}
        outcomes.append((output.detach(), slopes))
    (plain, expected), (found, slopes) = outcomes
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-5)
    for name, slope in expected.items():
        if not (".body." in name and name.endswith(".bias")):  # no effect before a normalization: noise
            assert relative(slopes[name], slope) < tolerance, name


@pytest.mark.usefixtures("small_bands")
def test_bands_keep_a_fraction_of_the_activations() -> None:
    kept = [0, 0]
    photo = random(1, 3, 64, 48).sigmoid()
    for banded in (False, True):

        def count(values: Tensor, banded: bool = banded) -> Tensor:
            kept[banded] += values.numel() * (values.shape[0] == 1)  # not the weights
            return values

        with torch.autograd.graph.saved_tensors_hooks(count, lambda values: values):
            StyleNet.initialize(torch.Generator().manual_seed(0))(photo, banded=banded)
    assert kept[True] < kept[False] / 4


def peak(work: Callable[[], object]) -> float:
    """Memory that PyTorch allocates while it works: the most at once, in maps of 16 channels of 256 x 256 px."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(count for _, count in changes)) / (16 * 256 * 256 * 4)


@pytest.mark.parametrize(("channels_last", "mirrored"), [(False, False), (True, True)])
def test_a_large_photo_takes_the_memory_of_few_maps(
    channels_last: bool, mirrored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the most, the last block has its inputs, two maps and a gradient, beside what skips deeper ones."""
    monkeypatch.setattr(stylenet, "_BANDED_PART_PIXELS", 1024)
    monkeypatch.setattr(bands, "_BAND_VALUES", 2**16)
    net = StyleNet.initialize(torch.Generator().manual_seed(0), arithmetic=Arithmetic(channels_last), mirrored=mirrored)
    photo = random(1, 3, 256, 256).sigmoid()
    taken = []
    for limit in (256 * 256, 256 * 256 - 1):
        monkeypatch.setattr(stylenet, "LARGE_PIXELS", limit)
        taken.append(peak(lambda: net(photo, banded=True).square().mean().backward()))
    plain = peak(lambda: net(photo).square().mean().backward())
    assert taken[1] < 7 < taken[0] < 9
    assert plain > 30


def test_content_features_of_a_large_photo_take_the_memory_of_few_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer by layer; a level at once would keep three more maps."""
    monkeypatch.setattr(bands, "_BAND_VALUES", 2**15)
    monkeypatch.setattr(recomputation, "RECOMPUTED_PIXELS", 1)
    content, image = registry.load("pocket").content, random(1, 3, 256, 256).sigmoid().requires_grad_()
    found = []
    for banded in (False, True):
        monkeypatch.setattr(towers, "is_banded", lambda *_, banded=banded: banded)
        image.grad = None
        taken = peak(lambda: sum(x.square().mean() for x in content.features(image, mirrored=True)).backward())
        found.append(image.grad)
        assert taken < 6.5
    assert relative(found[1], found[0]) < 1e-4


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize(("kernel", "stride", "height"), [(3, 1, 21), (3, 2, 21), (3, 2, 24), (4, 2, 24)])
def test_a_convolution_in_bands_is_the_convolution(kernel: int, stride: int, height: int, padding_mode: Any) -> None:
    layer = nn.Conv2d(16, 8, kernel, stride, 1, padding_mode=padding_mode).double()
    outcomes = []
    for run in (layer, lambda x: convolved_in_bands(layer, x)):
        layer.zero_grad(set_to_none=True)
        x = random(2, 16, height, 18).double().requires_grad_()
        out = run(x)
        (out * random(*out.shape, seed=1)).sum().backward()
        outcomes.append([out, x.grad, layer.weight.grad, layer.bias.grad])
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("small_bands")
def test_a_start_in_closed_form_is_what_the_network_shows_in_bands() -> None:
    net, photo = StyleNet.initialize(torch.Generator().manual_seed(1)), random(1, 3, 64, 48).sigmoid()
    shown = show(net, photo, photo, banded=True)
    with torch.no_grad():
        for banded in (False, True):
            torch.testing.assert_close(net(photo, banded=banded), shown, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoders(tmp_path_factory.mktemp("encoders") / "tiny", TINY_CLIP)


@pytest.mark.parametrize("name", ["pocket", "directory"])
def test_content_features_computed_again_have_the_same_bits(
    name: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = registry.load(str(directory) if name == "directory" else name)
    outcomes, saved = [], []
    for limit in (64 * 48, 64 * 48 - 1):
        monkeypatch.setattr(recomputation, "RECOMPUTED_PIXELS", limit)
        image = random(1, 3, 64, 48).sigmoid().requires_grad_()
        saved.append(0)

        def count(values: Tensor) -> Tensor:
            saved[-1] += values.numel()
            return values

        with torch.autograd.graph.saved_tensors_hooks(count, lambda values: values):
            maps = encoders.content.features(image)
        sum(level.square().mean() for level in maps).backward()
        outcomes.append([*(level.detach() for level in maps), image.grad])
    assert all(torch.equal(kept, again) for kept, again in zip(*outcomes, strict=True))
    assert saved[1] < saved[0] / 2


def new_state(encoders: EncoderSet, **options: object) -> RunState:
    config = resolve(encoders.calibration, **{"size": 64, "patches": 4, "crop_size": 32, **options})
    direction = text_direction(encoders, "fire", "a Photo", encoders.calibration.template_set)
    return RunState(PHOTO, direction, encoders, config, 1)


@pytest.mark.parametrize("options", [{}, {"weight_content": 0.0}, {"weight_patch": 0.0, "weight_direction": 0.0}])
def test_a_step_has_the_gradients_of_the_whole_objective(
    options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain formula: the weighted sum of all terms, differentiated at once."""
    monkeypatch.setattr(Fit, "update", lambda _: None)
    encoders = registry.load("pocket")
    plain, ours = (new_state(encoders, **options) for _ in range(2))
    image = plain.render()
    views = plain.views(image, plain.choose_views())
    embeddings = F.normalize(encoders.clip.encode_image(views), dim=1) if len(views) else plain.content_embedding[:0]
    total = plain.total(plain.clip_terms(embeddings), plain.content_term(image), plain.variation_term(image))
    total.backward()
    (report,) = step([ours])
    assert report.losses.total == pytest.approx(float(total.detach()), rel=1e-6)
    for (name, parameter), other in zip(plain.net.named_parameters(), ours.net.parameters(), strict=True):
        if not (".body." in name and name.endswith(".bias")):
            assert parameter.grad is not None
            assert other.grad is not None
            assert relative(other.grad, parameter.grad) < 1e-3, name


def test_a_run_on_a_large_photo_is_the_same_within_rounding(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Bands, activations computed again, the network run twice a step.

    Losses of the first two steps, so after the first update too, are the same within 0.02 %, later ones within 1 %:
    updates of Adam amplify rounding. Interleaved channels alone move them as far, by up to 0.2 %.
    """
    curves = []
    for large in (False, True):
        if large:
            request.getfixturevalue("small_bands")
            monkeypatch.setattr(recomputation, "RECOMPUTED_PIXELS", 64)
            monkeypatch.setattr(stylenet, "LARGE_PIXELS", 64)
            monkeypatch.setattr(towers, "is_banded", lambda *_: True)
            monkeypatch.setattr(run_state, "is_large", lambda _width, _height: True)
            monkeypatch.setattr(run_state, "is_banded", lambda *_: True)
        state = new_state(registry.load("pocket"), start=Start.PHOTO)
        assert state.is_large == large
        for _ in prepare(state):
            pass
        curves.append([step([state])[0].losses.total for _ in range(5)])
    assert curves[1][:2] == pytest.approx(curves[0][:2], rel=2e-4)
    assert curves[1] == pytest.approx(curves[0], rel=1e-2)


def test_a_style_of_a_large_photo_is_fitted_and_drawn_by_plain_layers(request: pytest.FixtureRequest) -> None:
    """To the bit: hooks on layers that see bands would take the last band for the photo."""
    state = new_state(registry.load("pocket"))
    plain = state.style()
    request.getfixturevalue("small_bands")
    state.is_large = state.is_banded = True
    style = state.style()
    for found, expected in zip(style.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(found, expected)
