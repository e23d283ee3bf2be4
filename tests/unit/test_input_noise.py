"""Noise on StyleNet's input, in one octave or several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler import input_noise
from clipstyler.input_noise import octaves, positional_octaves
from tests.unit.test_stylizer import run

KEPT = (input_noise._sum_block, input_noise._coarse_block)


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


@pytest.mark.parametrize("count", [1, 6, 8])
def test_a_part_of_positional_noise_is_that_part_of_all_of_it(count: int) -> None:
    everything = positional_octaves(2**63 - 1, count, slice(0, 600), slice(0, 520))
    for rows, columns in (
        (slice(250, 517), slice(255, 257)),
        (slice(8, 16), slice(0, 520)),
        (slice(599, 600), slice(3, 9)),
    ):
        part = positional_octaves(2**63 - 1, count, rows, columns)
        assert np.allclose(part, everything[:, rows, columns], atol=1e-5)
    assert not np.allclose(positional_octaves(1, count, slice(0, 8), slice(0, 8)), everything[:, :8, :8], atol=0.1)


def test_positional_noise_is_of_the_same_kind() -> None:
    noise = {count: positional_octaves(1, count, slice(0, 512), slice(0, 512)) for count in (1, 6)}
    drawn = {count: octaves((3, 3, 512, 512), count, generator()) for count in (1, 6)}
    for count in (1, 6):
        found = torch.from_numpy(noise[count])
        assert float(found.std()) == pytest.approx(float(drawn[count].std()), rel=0.1)
        assert coarse_deviation(found[None]) == pytest.approx(coarse_deviation(drawn[count]), rel=0.15)
    apart = positional_octaves(1, 2, slice(0, 64), slice(0, 64)) - positional_octaves(1, 1, slice(0, 64), slice(0, 64))
    assert abs(np.corrcoef(apart.ravel(), noise[1][:, :64, :64].ravel())[0, 1]) < 0.1


def test_every_block_of_every_octave_is_another() -> None:
    places = [(octave, row, column) for octave in (0, 1, 5) for row in (0, 1, 9) for column in (0, 1, 9)]
    blocks = np.stack([input_noise._normal_block(1, *place).ravel() for place in places])
    alike = np.corrcoef(blocks) - np.eye(len(places))
    assert np.abs(alike).max() < 0.02


def test_coarse_octaves_go_on_from_block_to_block() -> None:
    """What is interpolated bends at the border of a block as much as elsewhere."""
    side = slice(0, 1024)
    smooth = positional_octaves(1, 6, side, side) - positional_octaves(1, 1, side, side)
    for axis in (1, 2):
        bends = np.abs(np.diff(smooth, 2, axis=axis)).mean(axis=(0, 3 - axis))
        assert bends[[254, 255, 510, 511]].max() < 1.2 * bends.max(initial=0, where=np.arange(len(bends)) % 256 < 250)


@pytest.mark.parametrize("count", [1, 8])
def test_noise_that_is_kept_is_what_is_drawn_anew(count: int) -> None:
    parts = [(slice(0, 300), slice(200, 600)), (slice(700, 712), slice(8, 1000))]
    first = [positional_octaves(5, count, *part) for part in parts]
    again = [positional_octaves(5, count, *part) for part in parts]
    for kept in KEPT:
        kept.cache_clear()
    anew = [positional_octaves(5, count, *part) for part in reversed(parts)]
    for one, other, last in zip(first, again, reversed(anew), strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, last)


def test_what_is_kept_is_bounded_and_cannot_be_changed() -> None:
    part = positional_octaves(5, 2, slice(0, 256), slice(0, 40 * 256))
    part[:] = 0  # the caller's own
    block = input_noise._sum_block(5, 2, 0, 0)
    assert block.any()
    assert not block.flags.writeable
    assert sum(kept.cache_info().maxsize for kept in KEPT) * block.nbytes <= 30 * 2**20
    assert all(kept.cache_info().currsize <= kept.cache_info().maxsize for kept in KEPT)
