"""The spread of an album: nothing if all photos were changed in one way, more the more ways there are."""

from __future__ import annotations

import numpy as np
import pytest

from clipstyler.evaluation.consistency import spread
from clipstyler.imaging import Picture
from tests.tiny_encoders import tiny_encoders


def picture(seed: int) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8))


def test_one_change_of_one_photo_has_no_spread():
    found = spread([(picture(1), picture(2))] * 3, tiny_encoders())
    assert found == pytest.approx((0, 0, 0), abs=1e-6)


def test_different_changes_spread_and_the_mean_is_their_middle():
    photo = picture(9)
    encoders = tiny_encoders()
    near = spread([(picture(1), photo), (picture(2), photo)], encoders)
    dark = Picture(np.zeros((40, 50, 3), np.uint8))
    far = spread([(picture(1), photo), (dark, photo)], encoders)
    assert 0 < near.embeddings < far.embeddings <= 1
    assert 0 < near.statistics < far.statistics <= 1
    assert 0 < near.colors < far.colors


def test_colors_spread_by_their_means_and_deviations():
    gray, white = (Picture(np.full((40, 50, 3), level, np.uint8)) for level in (102, 204))
    found = spread([(gray, picture(9)), (white, picture(9))], tiny_encoders())
    assert found.colors == pytest.approx(np.sqrt(3 * 0.2**2), abs=1e-5)  # each 0.2 from the mean, in three channels
