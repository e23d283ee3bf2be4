"""Noise on StyleNet's input, in one octave or several."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.input_noise import octaves
from tests.unit.test_stylizer import run


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coarse_deviation(noise: Tensor) -> float:
    return float(F.avg_pool2d(noise, 16).std())


def test_one_octave_is_white_noise() -> None:
    ours, plain = generator(), generator()
    assert torch.equal(octaves((1, 3, 17, 40), 1, ours), torch.randn(1, 3, 17, 40, generator=plain))
    assert torch.equal(ours.get_state(), plain.get_state())


def test_every_octave_adds_coarser_noise_and_none_has_a_mean() -> None:
    noise = {count: octaves((4, 3, 256, 192), count, generator()) for count in (1, 3, 6)}
    coarse = [coarse_deviation(noise[count]) for count in (1, 3, 6)]
    assert coarse[0] < 0.1 < 2 * coarse[0] < coarse[1] < 0.5 * coarse[2]
    assert all(abs(float(values.mean())) < 0.1 for values in noise.values())
    assert float((noise[6] - noise[1]).std()) == pytest.approx(1.9, abs=0.3)


def test_no_octave_marks_the_border() -> None:
    noise = octaves((64, 3, 64, 64), 6, generator()) - octaves((64, 3, 64, 64), 1, generator())
    for edge in (noise[..., :2, :], noise[..., -2:, :], noise[..., :2], noise[..., -2:]):
        assert float(edge.std() / noise.std()) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 1000), (33, 7)])
def test_any_shape_takes_every_octave(height: int, width: int) -> None:
    assert octaves((1, 3, height, width), 8, generator()).shape == (1, 3, height, width)


def test_the_option_changes_results() -> None:
    results = {run(input_noise=0.06, noise_octaves=count).image.rgb.tobytes() for count in (1, 1, 2, 6)}
    assert len(results) == 3
