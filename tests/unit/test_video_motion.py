"""Motion, what is carried along it, and how steady a result is: against motion that is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.moving_clip import Camera
from clipstyler.imaging import Picture, decode
from clipstyler.video.motion import Motion, flow_between, moved
from clipstyler.video.moving_noise import MovingNoise
from clipstyler.video.steadiness import SteadinessMeter, warping_error
from clipstyler.video.steadying import steadied
from tests.unit.video_pictures import PHOTO


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera(decode(PHOTO.read_bytes()), 128, 96, 40)


@pytest.fixture(scope="module")
def frames(camera: Camera) -> list[Picture]:
    return list(camera.film())


def inner(camera: Camera) -> NDArray[np.bool_]:
    """Where the exact motion leads to places in the frame."""
    seen = np.zeros((camera.height, camera.width), np.bool_)
    seen[8:-8, 8:-8] = True
    return seen


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
    seen = Motion.between(right, left).is_seen
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
    still = np.zeros((*frames[0].rgb.shape[:2], 2), np.float32)
    other = frames[0].rgb.copy()
    other[:10] = 255 - other[:10]

    def error(first_seen: int) -> float:
        seen = np.zeros(still.shape[:2], np.bool_)
        seen[first_seen:] = True
        return warping_error(Picture(other), frames[0], Motion(still, seen))

    assert error(96) == error(20) == 0
    assert error(0) > 0.01


def flickering(frames: list[Picture]) -> list[Picture]:
    rng = np.random.default_rng(0)
    return [Picture(np.clip(f.rgb + rng.normal(0, 30, f.rgb.shape), 0, 255).astype(np.uint8)) for f in frames]


def all_steadied(frames: list[Picture], drawn: list[Picture], share: float) -> list[Picture]:
    results = drawn[:1]
    for n in range(1, len(drawn)):
        motion = Motion.between(frames[n], frames[n - 1])
        results.append(steadied(n, frames[n], frames[n - 1], drawn[n], results[-1], motion, share))
    return results


def test_steadying_evens_out_what_flickers(camera: Camera, frames: list[Picture]) -> None:
    drawn = flickering(frames[:12])
    errors = [
        np.mean([warping_error(some[n], some[n - 1], Motion(camera.flow(n), inner(camera))) for n in range(6, 12)])
        for some in (drawn, all_steadied(frames, drawn, 0.9))
    ]
    assert errors[1] < errors[0] / 10


def test_without_a_share_a_frame_is_what_was_drawn(frames: list[Picture]) -> None:
    drawn = flickering(frames[:3])
    assert (all_steadied(frames, drawn, 0)[2].rgb == drawn[2].rgb).all()


def test_nothing_is_carried_where_the_source_looks_otherwise(frames: list[Picture]) -> None:
    drawn = flickering(frames[:2])
    dark = Picture(frames[1].rgb // 4)
    result = all_steadied([frames[0], dark], drawn, 0.9)[1]
    assert np.abs(result.rgb.astype(int) - drawn[1].rgb).mean() < 3


def test_nothing_is_carried_to_what_comes_into_view(frames: list[Picture]) -> None:
    parts = [Picture(np.ascontiguousarray(frames[0].rgb[:, start : start + 112])) for start in (0, 16)]
    drawn = flickering(parts)
    result = all_steadied(parts, drawn, 0.9)[1]
    change = np.abs(result.rgb.astype(int) - drawn[1].rgb).mean(axis=(0, 2))
    assert change[-8:].mean() < change[20:80].mean() / 3


def test_small_differences_fade_too() -> None:
    frame = Picture(np.full((32, 32, 3), 100, np.uint8))
    off, target = Picture(frame.rgb + np.uint8(3)), frame
    results = all_steadied([frame] * 60, [off, *[target] * 59], 0.9)
    assert abs(results[-1].rgb.mean() - 100) < 0.1


def test_motion_has_a_size(frames: list[Picture]) -> None:
    motion = Motion.between(frames[20], frames[19])
    double = motion.at(256, 192)
    assert double.flow.shape == (192, 256, 2)
    assert np.abs(double.flow[::2, ::2] - 2 * motion.flow).mean() < 0.2
    assert motion.at(128, 96) is motion


def test_noise_goes_with_the_motion(camera: Camera) -> None:
    noise = MovingNoise(3, 6, 128, 96)
    whole = (96, 128), slice(0, 96), slice(0, 128)
    before = noise.part(*whole)
    shift = np.zeros((96, 128, 2), np.float32)
    shift[..., 0] = 5  # what is here was 5 px to the right
    for _ in range(3):
        noise.follow(Motion(shift, inner(camera)))
    assert (noise.part(*whole)[..., :100] == before[..., 15:115]).all()
    fresh = noise.part(*whole)[..., -15:]
    assert np.abs(np.diff(fresh, axis=-1)).mean() > 0.3 * np.abs(np.diff(before, axis=-1)).mean()


def test_moved_noise_does_not_fade(camera: Camera) -> None:
    noise = MovingNoise(3, 6, 128, 96)
    whole = (96, 128), slice(0, 96), slice(0, 128)
    before = noise.part(*whole).std()
    for number in range(1, camera.frames):
        noise.follow(Motion(camera.flow(number), inner(camera)))
    assert noise.part(*whole).std() == pytest.approx(before, rel=0.15)


def test_noise_of_a_larger_picture_is_as_fine_as_its_pixels_and_the_same_in_parts(camera: Camera) -> None:
    noise = MovingNoise(3, 6, 128, 96)
    noise.follow(Motion(camera.flow(20), inner(camera)))
    size = (300, 400)
    whole = noise.part(size, slice(0, 304), slice(0, 400))  # beyond the picture too
    assert whole.shape == (3, 304, 400)
    assert (noise.part(size, slice(64, 128), slice(200, 400)) == whole[:, 64:128, 200:400]).all()
    assert len(np.unique(whole[0, 100])) > 300
