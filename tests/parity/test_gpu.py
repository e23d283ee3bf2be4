"""On CUDA the same run goes as on the CPU, step by step and captured, as far as rounding lets it."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import clipstyler
from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler.acceleration import NONE, Accelerations
from clipstyler.acceleration_choice import choose
from clipstyler.captured_steps import CapturedSteps
from clipstyler.config import resolve
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.bias_relu import BiasReLU
from clipstyler.encoders.fused_vit import _added
from clipstyler.encoders.registry import load
from clipstyler.events import Preview, Progress, Result
from clipstyler.imaging import decode
from clipstyler.interleaved_norm import InterleavedNormReLU
from clipstyler.loaded_encoders import LoadedEncoders
from clipstyler.optimization import Reuse, optimize
from clipstyler.readback import Readback
from clipstyler.tf32 import use_tf32
from tests.running import spec_of, stylize

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PHOTO = Path(__file__).parents[2] / "examples" / "cat.jpg"
CAPTURED = Accelerations(channels_last=True, graphs=True)
STEPPED = Accelerations(channels_last=True)
SMALL_RATE = 1e-5


@pytest.fixture(autouse=True)
def _exact_products() -> None:
    use_tf32(False)


def test_a_run_on_cuda_goes_as_on_the_cpu() -> None:
    """Adam's first updates have the size of the rate, however small a gradient is: rounding becomes visible at once.

    On one CPU, another number of threads moves this picture by 1.5 gray levels, and interleaved channels by 2.3.
    """
    images, losses = [], []
    for device in ("cpu", "cuda"):
        encoders = load("pocket", device)
        config = resolve(encoders.calibration, size=128, steps=3)
        events = list(stylize(decode(PHOTO.read_bytes()), "fire", encoders, config, seed=1))
        assert isinstance(events[-1], Result)
        assert events[-1].device.startswith(device)
        images.append(events[-1].image.rgb.astype(int))
        losses.append([event.losses.total for event in events if isinstance(event, Progress)])
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-4)
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert np.abs(images[0] - images[1]).mean() < 5


def run(
    encoders: EncoderSet, text: str, captured: CapturedSteps | None = None, **options: Any
) -> tuple[np.ndarray, list[float]]:
    config = resolve(encoders.calibration, size=128, **{"steps": 12, "patches": 8} | options)
    spec = spec_of(text, encoders, config, seed=2, every_steps=3)
    events = list(optimize(decode(PHOTO.read_bytes()), spec, encoders, reuse=Reuse(steps=captured)))
    losses = [event.losses.total for event in events if isinstance(event, Progress)]
    last = events[-1]
    assert isinstance(last, Result)
    return last.image.rgb.astype(int), losses


def test_captured_steps_are_those_that_are_taken_one_by_one() -> None:
    """The gradient of the resampling is summed in no fixed order: at the usual rate, any two runs soon part."""
    steps = CapturedSteps()
    stepped, captured = (load("pocket", "cuda", accelerations=each) for each in (STEPPED, CAPTURED))
    for text in ("fire", "watercolor", "fire"):
        image, losses = run(stepped, text, learning_rate=SMALL_RATE)
        found, found_losses = run(captured, text, steps, learning_rate=SMALL_RATE)
        assert found_losses == pytest.approx(losses, rel=5e-3)
        assert np.abs(found - image).mean() < 2


def test_the_norm_with_interleaved_channels_is_accurate() -> None:
    x = (torch.randn(1, 4, 512, 512, device="cuda") * 3 + 5).contiguous(memory_format=torch.channels_last)
    expected = torch.relu(torch.nn.functional.instance_norm(x.double()))
    found = InterleavedNormReLU()(x)
    assert float((found - expected).norm() / expected.norm()) < 5e-7


def test_the_kernels_of_the_norm_are_accurate_in_both_precisions() -> None:
    x = (torch.randn(1, 16, 301, 200, device="cuda") * 3 + 5).contiguous(memory_format=torch.channels_last)
    slopes = torch.randn_like(x)
    for dtype, tolerance in ((torch.float32, 5e-6), (torch.bfloat16, 1e-2)):
        entered = x.detach().clone().to(dtype).requires_grad_()
        plain = entered.detach().double().requires_grad_()
        expected = torch.relu(torch.nn.functional.instance_norm(plain))
        expected.backward(slopes.to(dtype).double())
        found = InterleavedNormReLU(kernels=True)(entered)
        found.backward(slopes.to(dtype))
        assert found.dtype == dtype
        assert entered.grad is not None
        assert plain.grad is not None
        for mine, right in ((found, expected), (entered.grad, plain.grad)):
            assert float((mine.double() - right).norm() / right.norm()) < tolerance


def alike(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    apart = float((found.double() - expected.double()).norm() / expected.double().norm())
    assert apart < tolerance, (tuple(found.shape), found.dtype)


def test_a_sum_and_its_normalization_are_accurate_in_both_precisions() -> None:
    norm = torch.nn.LayerNorm(768, device="cuda")
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    for dtype, tolerance in ((torch.float32, 5e-6), (torch.bfloat16, 1e-2)):
        x = (torch.randn(65, 50, 768, device="cuda") * 3 + 5).requires_grad_()
        branch = torch.randn(65, 50, 768, device="cuda").to(dtype).requires_grad_()
        slopes = torch.randn_like(x), torch.randn_like(branch)
        found = _added(x, branch, norm.requires_grad_(False))
        assert [one.dtype for one in found] == [torch.float32, dtype]
        gradients = torch.autograd.grad(found, (x, branch), slopes)
        plain = [one.detach().double().requires_grad_() for one in (x, branch)]
        total = plain[0] + plain[1]
        normalized = torch.nn.functional.layer_norm(total, (768,), norm.weight.double(), norm.bias.double(), norm.eps)
        derivatives = torch.autograd.grad((total, normalized), plain, [slope.double() for slope in slopes])
        for mine, right in zip((*found, *gradients), (total, normalized, *derivatives), strict=True):
            alike(mine, right, tolerance)


def test_a_bias_and_its_relu_are_the_frameworks() -> None:
    x = torch.randn(1, 64, 301, 200, device="cuda").bfloat16().contiguous(memory_format=torch.channels_last)
    bias, slopes = torch.randn(64, device="cuda").bfloat16(), torch.randn_like(x)
    entered, plain = x.clone().requires_grad_(), x.double().requires_grad_()
    found, expected = BiasReLU(bias)(entered), torch.relu(plain + bias.double()[:, None, None])
    (gradient,) = torch.autograd.grad(found, entered, slopes)
    (derivative,) = torch.autograd.grad(expected, plain, slopes.double())
    alike(found, expected, 4e-3)
    alike(gradient, derivative, 4e-3)


def test_fused_encoders_see_what_they_see_in_bf16(tmp_path: Path) -> None:
    directory = str(write_encoders(tmp_path / "tiny", TINY_CLIP))
    plain, fused = (
        load(directory, "cuda", accelerations=Accelerations(bf16=True, channels_last=True, kernels=kernels))
        for kernels in (False, True)
    )
    views = torch.rand(9, 3, plain.clip.image_size, plain.clip.image_size, device="cuda")
    image = torch.rand(1, 3, 96, 80, device="cuda")
    for seen in (
        lambda encoders, x: encoders.clip.encode_image(x),
        lambda encoders, x: encoders.content.features(x)[1],
    ):
        entered = views if seen(plain, views).ndim == 2 else image
        slopes, found = [], []
        for encoders in (plain, fused):
            leaf = entered.clone().requires_grad_()
            out = seen(encoders, leaf)
            found.append(out.detach())
            slopes.append(torch.autograd.grad(out.square().sum(), leaf)[0])
        alike(found[1], found[0], 2e-2)
        alike(slopes[1], slopes[0], 5e-2)


def test_pixels_that_are_read_beside_the_next_work_are_those_of_before() -> None:
    values = torch.randint(0, 255, (512, 512, 3), device="cuda", dtype=torch.uint8)
    expected = values.cpu()
    reading = Readback(values.clone())
    values.zero_()
    assert torch.equal(reading.wait(), expected)
    assert not reading.wait().is_pinned()


def test_previews_of_captured_steps_are_those_of_steps_that_are_taken_one_by_one() -> None:
    """A later image would be there if a preview were taken too late."""
    pictures = []
    for accelerations in (STEPPED, CAPTURED):
        encoders = load("pocket", "cuda", accelerations=accelerations)
        config = resolve(encoders.calibration, size=128, steps=9, patches=8, learning_rate=2e-3)
        spec = spec_of("fire", encoders, config, seed=2, every_steps=3)
        events = optimize(decode(PHOTO.read_bytes()), spec, encoders)
        pictures.append([event.image.rgb.astype(int) for event in events if isinstance(event, Preview)])
    stepped, captured = pictures
    assert len(stepped) == len(captured) == 4
    for number, (one, other) in enumerate(zip(stepped, captured, strict=True)):
        nearest = min(range(len(stepped)), key=lambda each: np.abs(stepped[each] - other).mean())
        assert nearest == number, np.abs(one - other).mean()


def test_photos_of_one_shape_share_what_loaded_encoders_have_captured() -> None:
    encoders = LoadedEncoders.of(load("pocket", "cuda", accelerations=CAPTURED))
    for seed in (1, 2):
        clipstyler.stylize(PHOTO, "fire", encoders=encoders, size=128, steps=3, patches=8, seed=seed).result()
    assert len(encoders.steps._idle) == 1
    held = weakref.ref(encoders.steps._idle[0][1])
    del encoders
    assert held() is None


def test_a_step_with_all_accelerations_is_near_the_plain_one(tmp_path: Path) -> None:
    directory = str(write_encoders(tmp_path / "tiny", TINY_CLIP))
    curves = []
    for accelerations in (NONE, Accelerations(False, True, True, True, True, True)):
        use_tf32(accelerations.tf32)
        encoders = load(directory, "cuda", accelerations=accelerations)
        curves.append(run(encoders, "fire", steps=6, learning_rate=SMALL_RATE)[1])
    assert curves[1] == pytest.approx(curves[0], rel=2e-2)


def test_a_large_photo_is_optimized_with_all_accelerations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipstyler.run_state.is_large", lambda _width, _height: True)
    monkeypatch.setattr("clipstyler.run_state.is_banded", lambda *_: True)
    encoders = load("pocket", "cuda", accelerations=Accelerations(False, True, True, True, True, True))
    assert np.isfinite(run(encoders, "fire", CapturedSteps(), steps=2)[1]).all()


def test_accelerations_are_chosen_by_measurement(tmp_path: Path) -> None:
    choice = choose("auto", torch.device("cuda"), own_process=True, record=tmp_path / "accelerations.json")
    assert set(choice.speedups) == {"graphs", "tf32", "channels_last", "kernels", "bf16"}
    assert choice.accelerations.graphs
    assert not choice.accelerations.memory
    assert (tmp_path / "accelerations-cuda.json").is_file()
    assert choose("off", torch.device("cuda"), own_process=True).accelerations == NONE
    precisions: Any = torch.backends
    assert precisions.cudnn.conv.fp32_precision == precisions.cuda.matmul.fp32_precision == "ieee"
