"""Pictures of one style are drawn together: the same colors on average, each pixel by the same map."""

from __future__ import annotations

import numpy as np
import pytest

from clipstyler.harmonizing import Colors, Harmony, colors_of, common_colors, harmonized
from clipstyler.imaging import Picture


def picture(seed: int, center: float = 128, deviation: float = 20, size: tuple[int, int] = (60, 80)) -> Picture:
    """Correlated colors, none of them at the ends of the scale."""
    noise = np.random.default_rng(seed).normal(size=(*size, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]])
    return Picture(np.clip(center + deviation * noise, 0, 255).round().astype(np.uint8))


def test_the_colors_of_a_picture_are_their_mean_and_covariance():
    found, pixels = colors_of(picture(1)), picture(1).rgb.reshape(-1, 3).astype(float)
    assert found.mean == pytest.approx(pixels.mean(axis=0))
    assert found.covariance == pytest.approx(np.cov(pixels.T, bias=True), rel=1e-9)


def test_a_picture_of_several_strips_is_measured_and_moved_as_a_whole(monkeypatch: pytest.MonkeyPatch):
    whole = colors_of(picture(1)), harmonized(picture(1), Harmony(colors_of(picture(2, 90, 30)), 0.7)).rgb
    monkeypatch.setattr("clipstyler.harmonizing._STRIP_PIXELS", 700)
    assert colors_of(picture(1)).covariance == pytest.approx(whole[0].covariance)
    assert (harmonized(picture(1), Harmony(colors_of(picture(2, 90, 30)), 0.7)).rgb == whole[1]).all()


def test_all_of_it_gives_the_common_colors():
    common = colors_of(picture(2, 100, 30))
    found = colors_of(harmonized(picture(1), Harmony(common, 1)))
    assert found.mean == pytest.approx(common.mean, abs=0.1)
    assert found.covariance == pytest.approx(common.covariance, rel=0.01, abs=1)


def test_half_of_it_goes_half_the_way():
    one, common = picture(1, 140), colors_of(picture(2, 110))
    found = colors_of(harmonized(one, Harmony(common, 0.5)))
    assert found.mean == pytest.approx((colors_of(one).mean + common.mean) / 2, abs=0.5)  # rounded to whole values


def test_nothing_of_it_and_colors_that_are_common_already_change_nothing():
    one = picture(1)
    assert harmonized(one, Harmony(colors_of(picture(2, 30)), 0)) is one
    assert (harmonized(one, Harmony(colors_of(one), 1)).rgb == one.rgb).all()


def test_what_is_common_lies_between():
    dull, lively = (Colors(np.full(3, mean), np.eye(3) * deviation**2) for mean, deviation in ((50.0, 10), (150.0, 30)))
    found = common_colors([dull, lively])
    assert found.mean == pytest.approx(np.full(3, 100))
    assert found.covariance == pytest.approx(np.eye(3) * 20**2)


def test_contrast_changes_by_a_factor_of_two_at_most():
    flat = picture(1, deviation=3)
    found = colors_of(harmonized(flat, Harmony(colors_of(picture(2, deviation=30)), 1)))
    assert np.trace(found.covariance) == pytest.approx(4 * np.trace(colors_of(flat).covariance), rel=0.03)
    strong = harmonized(picture(2, deviation=30), Harmony(colors_of(flat), 1))
    before = np.trace(colors_of(picture(2, deviation=30)).covariance)
    assert np.trace(colors_of(strong).covariance) == pytest.approx(before / 4, rel=0.03)


def test_a_picture_of_one_color_stays_one():
    gray = Picture(np.full((30, 40, 3), 200, np.uint8))
    found = harmonized(gray, Harmony(colors_of(picture(2, 100)), 1)).rgb
    assert (found == found[0, 0]).all()
    assert found[0, 0] == pytest.approx(colors_of(picture(2, 100)).mean, abs=1)


def test_transparent_pixels_do_not_count_and_stay_transparent():
    seen = picture(1)
    rgb, alpha = seen.rgb.copy(), np.full(seen.rgb.shape[:2], 255, np.uint8)
    rgb[:30], alpha[:30] = 255, 0
    found = colors_of(Picture(rgb, alpha))
    assert found.mean == pytest.approx(colors_of(Picture(np.ascontiguousarray(seen.rgb[30:]))).mean)
    assert harmonized(Picture(rgb, alpha), Harmony(found, 1)).alpha is alpha
    nothing = Picture(rgb, np.zeros_like(alpha))
    assert colors_of(nothing).mean == pytest.approx(colors_of(Picture(rgb)).mean)
