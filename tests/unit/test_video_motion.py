"""Motion, what is carried along it, and how steady a result is: against motion that is known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.moving_clip import Camera
from clipstyler.imaging import Picture, decode
from clipstyler.video.motion import flow_between, is_visible_in_both, moved
from clipstyler.video.steadiness import SteadinessMeter, warping_error
from clipstyler.video.steadying import Steadier
from tests.unit.video_pictures import PHOTO


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera(decode(PHOTO.read_bytes()), 128, 96, 40)


@pytest.fixture(scope="module")
def frames(camera: Camera) -> list[Picture]:
    return list(camera.film())


def test_the_flow_of_a_pan_is_found(camera: Camera, frames: list[Picture]) -> None:
    exact = camera.flow(20)
    assert np.abs(exact).max() > 2
    error = np.abs(flow_between(frames[20], frames[19]) - exact)[8:-8, 8:-8]
    assert np.median(error) < 0.2


def test_a_moved_frame_is_the_next_one(camera: Camera, frames: list[Picture]) -> None:
    before, now = (frames[number].rgb.astype(np.float32) / 255 for number in (19, 20))
    inside = slice(8, -8), slice(8, -8)
    still = np.abs(now - before)[inside].mean()
    assert np.abs(now - moved(before, camera.flow(20)))[inside].mean() < still / 5


def test_what_comes_into_view_is_not_visible_in_both(frames: list[Picture]) -> None:
    left, right = (Picture(np.ascontiguousarray(frames[0].rgb[:, part])) for part in (slice(0, 112), slice(16, 128)))
    flow, back = flow_between(right, left), flow_between(left, right)
    seen = is_visible_in_both(flow, back)
    assert seen[10:-10, 10:80].mean() > 0.9
    assert seen[:, -8:].mean() < 0.2


def test_frames_too_small_for_a_flow_have_none() -> None:
    tiny = Picture(np.zeros((8, 200, 3), np.uint8))
    assert not flow_between(tiny, tiny).any()


def test_the_flow_repeats(frames: list[Picture]) -> None:
    assert (flow_between(frames[1], frames[0]) == flow_between(frames[1], frames[0])).all()


def test_a_result_that_is_the_source_is_as_steady_as_it(frames: list[Picture]) -> None:
    meter = SteadinessMeter()
    for frame in frames[:6]:
        meter.add(frame, frame)
    found = meter.result()
    assert found.pairs == 5
    assert found.warping_error == found.source_warping_error > 0
    assert found.warping_ratio == found.difference_ratio == 1


def test_flicker_is_a_warping_error(frames: list[Picture]) -> None:
    meter = SteadinessMeter()
    for number, frame in enumerate(frames[:6]):
        meter.add(frame, Picture(np.clip(frame.rgb + 20.0 * (number % 2), 0, 255).astype(np.uint8)))
    found = meter.result()
    assert found.warping_error - found.source_warping_error == pytest.approx((20 / 255) ** 2, rel=0.2)
    assert (found.warping_ratio or 0) > 3


def test_a_cut_is_no_error(frames: list[Picture]) -> None:
    meter = SteadinessMeter()
    other = Picture(255 - frames[3].rgb)
    for frame, begins in ((frames[2], True), (frames[3], False), (other, True)):
        meter.add(frame, frame, begins_shot=begins)
    assert meter.result().pairs == 1
    assert meter.result().source_warping_error < 0.01


def test_a_source_that_stands_still_has_no_ratio(frames: list[Picture]) -> None:
    meter = SteadinessMeter()
    for _ in range(2):
        meter.add(frames[0], frames[0])
    assert meter.result().warping_ratio is None
    assert meter.result().difference_ratio is None


def test_an_error_counts_only_where_both_are_seen(frames: list[Picture]) -> None:
    flow = np.zeros((*frames[0].rgb.shape[:2], 2), np.float32)
    seen = np.zeros(flow.shape[:2], np.bool_)
    other = frames[0].rgb.copy()
    other[:10] = 255 - other[:10]
    assert warping_error(Picture(other), frames[0], flow, seen) == 0
    seen[20:] = True
    assert warping_error(Picture(other), frames[0], flow, seen) == 0
    seen[:] = True
    assert warping_error(Picture(other), frames[0], flow, seen) > 0.01


def flickering(frames: list[Picture]) -> list[Picture]:
    rng = np.random.default_rng(0)
    return [Picture(np.clip(f.rgb + rng.normal(0, 30, f.rgb.shape), 0, 255).astype(np.uint8)) for f in frames]


def test_steadying_evens_out_what_flickers(camera: Camera, frames: list[Picture]) -> None:
    drawn = flickering(frames[:12])
    steadier = Steadier(0.8)
    results = [steadier.steady(*pair) for pair in zip(frames, drawn, strict=False)]
    seen = np.zeros(frames[0].rgb.shape[:2], np.bool_)
    seen[8:-8, 8:-8] = True
    errors = [
        np.mean([warping_error(some[n], some[n - 1], camera.flow(n), seen) for n in range(6, 12)])
        for some in (drawn, results)
    ]
    assert errors[1] < errors[0] / 5
    assert (results[0].rgb == drawn[0].rgb).all()


def test_nothing_is_carried_into_another_shot_or_without_a_share(frames: list[Picture]) -> None:
    drawn = flickering(frames[:2])
    steadier = Steadier(0.8)
    steadier.steady(frames[0], drawn[0])
    steadier.begin_shot()
    assert (steadier.steady(frames[1], drawn[1]).rgb == drawn[1].rgb).all()
    off = Steadier(0)
    off.steady(frames[0], drawn[0])
    assert (off.steady(frames[1], drawn[1]).rgb == drawn[1].rgb).all()


def test_nothing_is_carried_where_the_source_looks_otherwise(frames: list[Picture]) -> None:
    drawn = flickering(frames[:2])
    steadier = Steadier(0.8)
    steadier.steady(frames[0], drawn[0])
    dark = Picture(frames[1].rgb // 4)
    assert np.abs(steadier.steady(dark, drawn[1]).rgb.astype(int) - drawn[1].rgb).mean() < 3


def test_a_run_goes_on_as_if_it_had_not_stopped(frames: list[Picture]) -> None:
    drawn = flickering(frames[:4])
    whole = Steadier(0.8)
    results = [whole.steady(*pair) for pair in zip(frames, drawn, strict=False)]
    resumed = Steadier(0.8)
    resumed.resume(frames[1], results[1])
    assert (resumed.steady(frames[2], drawn[2]).rgb == results[2].rgb).all()
