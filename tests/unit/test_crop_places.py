"""Crops are drawn where they show enough of a part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipstyler import patches
from clipstyler.crop_places import CropPlaces, _shares


def part(*box: int, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    top, bottom, left, right = box
    pixels = np.zeros(shape, bool)
    pixels[top:bottom, left:right] = True
    return pixels


def drawn(places: CropPlaces, count: int = 500, seed: int = 0) -> np.ndarray:
    return places.draw(count, torch.Generator().manual_seed(seed)).numpy()


def share(pixels: np.ndarray, x: float, y: float, side: int) -> float:
    image = torch.from_numpy(pixels).float()[None, None]
    return float(patches.window(image, int(x), int(y), side, side).mean())


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("overhang", [0, 5])
def test_every_crop_shows_at_least_half_of_its_part(mirrored: bool, overhang: int) -> None:
    pixels = part(5, 30, 10, 35)
    origins = drawn(CropPlaces(pixels, 10, overhang, mirrored=mirrored))
    shares = [share(pixels, x, y, 10) for x, y in origins]
    assert min(shares) >= 0.5
    assert min(shares) < 0.6  # not only the middle
    assert len(np.unique(origins, axis=0)) > 100


@pytest.mark.parametrize("mirrored", [True, False])
def test_shares_are_those_of_the_crops_that_are_cut(mirrored: bool) -> None:
    pixels = np.random.default_rng(0).random((12, 9)) > 0.5
    found = _shares(pixels, 4, 3, mirrored=mirrored)
    assert found.shape == (12 - 4 + 1 + 6, 9 - 4 + 1 + 6)
    for row, column in np.ndindex(found.shape):
        x, y = column - 3, row - 3
        if not mirrored:
            x, y = min(max(x, 0), 5), min(max(y, 0), 8)
        assert found[row, column] == pytest.approx(share(pixels, x, y, 4))


def test_crops_that_are_moved_back_stay_on_the_image() -> None:
    origins = drawn(CropPlaces(part(0, 40, 0, 60), 10, 7))
    assert origins.min() == 0
    assert origins.max(axis=0).tolist() == [50, 30]


def test_crops_may_extend_beyond_a_mirrored_border() -> None:
    origins = drawn(CropPlaces(part(0, 40, 0, 60), 10, 7, mirrored=True))
    assert origins.min(axis=0).tolist() == [-7, -7]
    assert origins.max(axis=0).tolist() == [57, 37]


def test_a_thin_part_gets_the_crops_that_show_most_of_it() -> None:
    pixels = part(0, 40, 30, 33)
    shares = [share(pixels, x, y, 12) for x, y in drawn(CropPlaces(pixels, 12))]
    assert min(shares) == pytest.approx(0.25)


def test_places_are_drawn_uniformly_and_repeat_with_their_seed() -> None:
    places = CropPlaces(part(0, 12, 0, 12, shape=(12, 24)), 10)
    origins = drawn(places, 20_000)
    _, counts = np.unique(origins, axis=0, return_counts=True)
    assert counts.max() / counts.min() < 1.35
    assert np.array_equal(drawn(places, seed=3), drawn(places, seed=3))
    assert (drawn(places, seed=3) != drawn(places, seed=4)).any()
