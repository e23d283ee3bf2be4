"""A style on the frames of a shot: its statistics do not follow what comes into the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipstyler.frame_pairs import FramePair
from clipstyler.imaging import Picture, resized
from clipstyler.losses import frame_difference_loss
from clipstyler.run_state import RunState
from clipstyler.style import dump_style
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_fitting import Temporal, fit_style
from clipstyler.video.shot_drawing import ShotDrawing
from clipstyler.video.steadiness import SteadinessMeter
from tests.running import text_direction
from tests.tiny_encoders import tiny_encoders
from tests.unit.test_styles import ended, fitted, photo, spec


@pytest.fixture(scope="module")
def style() -> LoadedStyle:
    return LoadedStyle.of(fitted(steps=4))


def drawn(style: LoadedStyle, key_frames: list[Picture], frame: Picture, **controls: float) -> Picture:
    return ended(ShotDrawing(style, key_frames, StyleControls(**controls), 0).draw(frame))


def all_drawn(style: LoadedStyle, frames: list[Picture], steadiness: float) -> list[Picture]:
    drawing = ShotDrawing(style, frames[:1], StyleControls(), steadiness)
    return [ended(drawing.draw(frame)) for frame in frames]


def panned(count: int) -> list[Picture]:
    """Frames of a camera that moves by a pixel and a half per frame."""
    wide = photo(160, 64)
    return [Picture(np.ascontiguousarray(resized(wide, (240, 96)).rgb[:64, 3 * n : 3 * n + 96])) for n in range(count)]


def with_a_patch(picture: Picture) -> Picture:
    rgb = picture.rgb.copy()
    rgb[:8, :8] = 255 - rgb[:8, :8]
    return Picture(rgb)


@pytest.mark.parametrize("size", [(56, 48), (200, 150), (33, 9)])
def test_a_key_frame_looks_as_if_the_style_were_applied_to_it_alone(style: LoadedStyle, size: tuple[int, int]) -> None:
    frame = photo(*size)
    alone = ended(apply_style(style, frame, StyleControls()))
    assert np.abs(drawn(style, [frame], frame).rgb.astype(int) - alone.rgb).max() <= 2


def test_what_comes_into_a_frame_does_not_change_the_rest(style: LoadedStyle) -> None:
    frame = photo(240, 64)
    far = slice(-48, None)
    before = drawn(style, [frame], frame).rgb[:, far].astype(int)
    after = drawn(style, [frame], with_a_patch(frame)).rgb[:, far]
    assert np.abs(after - before).max() <= 1
    alone, alone_after = (
        ended(apply_style(style, picture, StyleControls())).rgb[:, far].astype(int)
        for picture in (frame, with_a_patch(frame))
    )
    assert np.abs(alone_after - alone).max() > 1


@pytest.mark.parametrize("steadiness", [0, 0.9])
def test_frames_that_are_there_already_are_skipped(style: LoadedStyle, steadiness: float) -> None:
    frames = panned(5)
    whole = all_drawn(style, frames, steadiness)
    resumed = ShotDrawing(style, frames[:1], StyleControls(), steadiness)
    for pair in zip(frames[:3], whole[:3], strict=True):
        resumed.skip(*pair)
    assert (ended(resumed.draw(frames[3])).rgb == whole[3].rgb).all()
    assert (ended(resumed.draw(frames[4])).rgb == whole[4].rgb).all()


def test_a_steady_shot_changes_less_along_its_motion(style: LoadedStyle) -> None:
    frames = panned(8)
    ratios = []
    for steadiness in (0, 0.9):
        meter = SteadinessMeter()
        for pair in zip(frames, all_drawn(style, frames, steadiness), strict=True):
            meter.add(*pair)
        ratios.append(meter.result().warping_error)
    assert ratios[1] < ratios[0] / 2


def test_the_first_frame_is_drawn_as_it_is(style: LoadedStyle) -> None:
    frames = panned(1)
    assert (all_drawn(style, frames, 0.9)[0].rgb == all_drawn(style, frames, 0)[0].rgb).all()


def test_all_key_frames_have_a_say(style: LoadedStyle) -> None:
    frames = [photo(64, 48, seed) for seed in (1, 2)]
    both = drawn(style, frames, frames[0])
    assert (both.rgb != drawn(style, frames[:1], frames[0]).rgb).any()
    assert (both.rgb != drawn(style, frames[1:], frames[0]).rgb).any()


def test_controls_are_those_of_photos(style: LoadedStyle) -> None:
    frame = photo(80, 60)
    full = drawn(style, [frame], frame).rgb.astype(int)
    assert (drawn(style, [frame], frame, strength=0).rgb == frame.rgb).all()
    half = drawn(style, [frame], frame, strength=0.5).rgb
    assert np.abs(half - (full + frame.rgb) / 2).max() <= 0.5
    assert (drawn(style, [frame], frame, preserve_color=1).rgb != full).any()


def test_the_temporal_loss_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn_now, drawn_before, now, before = (torch.rand(1, 3, 8, 8, generator=generator) for _ in range(4))
    features = [F.avg_pool2d(image, 4) for image in (drawn_now, drawn_before, now, before)]
    ours = frame_difference_loss(
        [drawn_now - drawn_before, features[0] - features[1]], [now - before, features[2] - features[3]]
    )
    plain = ((drawn_now - drawn_before - now + before) ** 2).mean()
    plain += ((features[0] - features[1] - features[2] + features[3]) ** 2).mean()
    torch.testing.assert_close(ours, plain)


def pair_of(encoders: object, first: Picture, before: Picture) -> tuple[RunState, FramePair]:
    asked = spec()
    direction = text_direction(encoders, "a tiny look", "a Photo", asked.config.template_set)
    state = RunState(first, direction, encoders, asked.config, 1)
    return state, FramePair(state, before)


def test_frames_that_do_not_change_have_no_temporal_loss() -> None:
    _, pair = pair_of(tiny_encoders(), photo(), photo())
    assert float(pair.loss().detach()) == 0


def test_the_temporal_loss_reaches_the_weights() -> None:
    state, pair = pair_of(tiny_encoders(), photo(seed=1), photo(seed=2))
    pair.backpropagate(1.0)
    gradient = state.net.stem.weight.grad.clone()
    pair.backpropagate(2.0)
    torch.testing.assert_close(state.net.stem.weight.grad, 3 * gradient)
    assert gradient.abs().max() > 0


def test_a_style_that_is_fitted_to_pairs_changes_less() -> None:
    frames, before = [photo(seed=1)], [photo(seed=2)]
    changes = []
    for temporal in (None, Temporal(before, 1e6)):
        fitted_style = ended(fit_style(frames, spec(steps=6, input_noise=0.0), tiny_encoders(), temporal=temporal))
        net = LoadedStyle.of(fitted_style)
        pictures = (ended(apply_style(net, picture, StyleControls())) for picture in (*frames, *before))
        now, past = (picture.rgb.astype(float) for picture in pictures)
        changes.append(np.square(now - past - (frames[0].rgb.astype(float) - before[0].rgb)).mean())
    assert changes[1] < 0.9 * changes[0]


def test_without_it_nothing_changes() -> None:
    assert dump_style(fitted()) == dump_style(ended(fit_style([photo()], spec(), tiny_encoders(), temporal=None)))
