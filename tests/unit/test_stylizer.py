"""The optimization: its schedule, its switches, its isolation, and what it yields."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from clipstyler.config import AugmentFill, ConfigError, Start, StylizeConfig, TvForm, resolve
from clipstyler.embedding import Embedding
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.description import TextConfidence
from clipstyler.events import Optimized, Preparing, Preview, Progress, Rendering, Result, Started, Warning
from clipstyler.imaging import Picture, fit
from clipstyler.optimization import optimize
from clipstyler.original import Original
from clipstyler.pixels import adjust_contrast
from clipstyler.preparation import SHORTLIST, prepare
from clipstyler.run_state import RunState
from clipstyler.stylizer import StepReport, step, step_in_parts
from clipstyler.tints import tints
from tests.running import spec_of, stylize, text_direction
from tests.tiny_encoders import TinyClip, tiny_encoders


def photo(width: int = 70, height: int = 50, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + phase) + np.cos(y / 7 + phase) for phase in rng.uniform(0, 6, 3)], axis=-1)
    return Picture(((waves + 2) / 4 * 255).astype(np.uint8))


def quick(encoders: EncoderSet, **overrides: object) -> StylizeConfig:
    return resolve(encoders.calibration, **{"size": 64, "output_size": 64, "steps": 3, "patches": 4, **overrides})


def run(style: str = "fire", *, seed: int = 1, encoders: EncoderSet | None = None, **overrides: object) -> Result:
    encoders = encoders or tiny_encoders()
    *_, last = stylize(photo(), style, encoders, quick(encoders, **overrides), seed=seed)
    assert isinstance(last, Result)
    return last


def new_state(encoders: EncoderSet, seed: int = 1, style: str = "fire", **overrides: object) -> RunState:
    config = quick(encoders, **overrides)
    direction = text_direction(encoders, style, "a Photo", "plain")
    return RunState(fit(photo(), config.size), direction, encoders, config, seed)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_step_count_makes_exactly_that_many_updates_then_one_more_forward_pass(steps: int) -> None:
    encoders = tiny_encoders()
    events = list(stylize(photo(), "fire", encoders, quick(encoders, steps=steps), seed=1))
    *progress, result = events
    assert [event.step for event in progress if isinstance(event, Progress)] == list(range(1, steps + 1))
    assert isinstance(result, Result)

    state = new_state(encoders, steps=steps)
    for _ in range(steps):
        step([state])
    assert state.fit.updates == steps
    with torch.no_grad():
        state.render()
    assert np.array_equal(state.picture().rgb, result.image.rgb)


def test_progress_reports_losses_rejection_and_times_and_previews_the_current_image() -> None:
    encoders = tiny_encoders()
    images = []
    for event in stylize(photo(), "fire", encoders, quick(encoders, steps=4), seed=1, every_steps=1):
        if isinstance(event, Preview):
            images.append(event.image.rgb)
        if isinstance(event, Progress):
            assert event.losses.total > 0
            assert 0 <= event.losses.patch <= 2
            assert 0 <= event.rejected <= 1
            assert event.elapsed_s > 0
            assert 0 < event.step_s <= event.elapsed_s
            assert (event.remaining_s == 0) == (event.step == 4)
    assert len(images) == 5
    assert all(image.shape == (46, 64, 3) for image in images)
    assert all((a != b).any() for a, b in pairwise(images[1:]))


def test_the_total_is_the_weighted_sum_of_its_terms() -> None:
    encoders = tiny_encoders()
    config = quick(encoders)
    events = stylize(photo(), "fire", encoders, config, seed=1)
    losses = next(event for event in events if isinstance(event, Progress)).losses
    expected = (
        config.weight_direction * losses.direction
        + config.weight_patch * losses.patch
        + config.weight_content * losses.content
        + config.weight_tv * losses.total_variation
    )
    assert losses.total == pytest.approx(expected, rel=1e-5)


def test_the_optimization_lowers_the_loss() -> None:
    encoders = tiny_encoders(threshold=0.0)
    config = quick(encoders, steps=40, augmentation=False, weight_tv=0, weight_content=0, learning_rate=5e-3)
    totals = [e.losses.total for e in stylize(photo(), "fire", encoders, config, seed=1) if isinstance(e, Progress)]
    assert np.mean(totals[-5:]) < 0.6 * totals[0]


@pytest.mark.parametrize(
    ("term", "field"),
    [
        ("direction", "weight_direction"),
        ("patch", "weight_patch"),
        ("content", "weight_content"),
        ("total_variation", "weight_tv"),
    ],
)
def test_every_term_can_be_switched_off(term: str, field: str) -> None:
    losses = run(**{field: 0.0}).losses
    assert getattr(losses, term) == 0
    others = {"direction", "patch", "content", "total_variation"} - {term}
    assert all(getattr(losses, other) > 0 for other in others)


def test_a_clip_term_that_is_off_costs_no_views() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    run(encoders=encoders, weight_patch=0.0)
    assert {len(views) for views in encoders.clip.seen} == {1}
    encoders.clip.seen.clear()
    run(encoders=encoders, weight_patch=0.0, weight_direction=0.0)
    assert [len(views) for views in encoders.clip.seen] == [1]  # the content image alone


def test_without_augmentation_patches_have_no_black() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    black = {}
    for augmentation in (True, False):
        encoders.clip.seen.clear()
        run(encoders=encoders, steps=1, augmentation=augmentation)
        black[augmentation] = (encoders.clip.seen[-1][:4] == 0).float().mean().item()
    assert black[True] > 0.1
    assert black[False] == 0


def test_context_fill_leaves_no_black() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    run(encoders=encoders, steps=1, augment_fill=AugmentFill.CONTEXT)
    assert (encoders.clip.seen[-1] > 0).all()


def test_the_threshold_can_be_switched_off() -> None:
    rejected = [
        e.rejected
        for e in stylize(photo(), "fire", tiny_encoders(), quick(tiny_encoders(), threshold=2.0))
        if isinstance(e, Progress)
    ]
    assert rejected == [1.0] * 3
    kept = run(threshold=2.0, threshold_rejection=False)
    assert kept.losses.patch > 0


def test_both_forms_of_total_variation_are_used_as_asked() -> None:
    norm, squared = (run(steps=1, tv_form=form).losses.total_variation for form in (TvForm.NORM, TvForm.SQUARED))
    assert norm != squared


def test_the_same_seed_gives_the_same_bytes_with_another_run_in_between() -> None:
    encoders = tiny_encoders()
    first = run("fire", encoders=encoders).image.rgb.tobytes()
    between = run("water", seed=9, encoders=encoders).image.rgb.tobytes()
    again = run("fire", encoders=encoders).image.rgb.tobytes()
    other_seed = run("fire", seed=2, encoders=encoders).image.rgb.tobytes()
    assert first == again
    assert len({first, between, other_seed}) == 3


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    before = torch.get_rng_state()
    first = run().image.rgb
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1234)
    assert np.array_equal(first, run().image.rgb)


def test_several_runs_in_one_step_go_as_each_alone() -> None:
    """Embeddings of a larger batch may differ in their last bits: tolerance one gray level."""
    encoders = tiny_encoders()
    together = [new_state(encoders, seed=1), new_state(encoders, seed=2, style="water")]
    alone = [new_state(encoders, seed=1), new_state(encoders, seed=2, style="water")]
    for _ in range(3):
        step(together)
        for state in alone:
            step([state])
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a.picture().rgb.astype(int) - b.picture().rgb.astype(int)).max() <= 1


def test_a_result_has_everything_needed_to_reproduce_it() -> None:
    encoders = tiny_encoders()
    *_, first = stylize(photo(), " fire ", encoders, quick(encoders))
    assert isinstance(first, Result)
    spec = first.spec
    assert spec.style_text == "fire"
    assert spec.source_text == "a Photo"
    assert [model.digest for model in first.models] == ["0" * 64, "1" * 64]
    assert {"clipstyler", "torch", "numpy", "pillow", "python"} <= set(first.versions)
    assert (first.device, first.provider) == ("cpu", "torch-cpu")
    assert first.threads == torch.get_num_threads()
    assert first.timings.prepare_s > 0
    assert first.timings.optimize_s > 0
    *_, again = stylize(photo(), spec.style_text, encoders, spec.config, source_text=spec.source_text, seed=spec.seed)
    assert isinstance(again, Result)
    assert np.array_equal(first.image.rgb, again.image.rgb)


def test_stopping_early_stops_the_work() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    events = stylize(photo(), "fire", encoders, quick(encoders, steps=100), seed=1)
    for _ in range(2):
        while not isinstance(next(events), Progress):
            pass
    seen = len(encoders.clip.seen)
    events.close()
    assert len(encoders.clip.seen) == seen == 3  # the content image, then two steps


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (200, 30), (31, 97), (16, 16), (65, 63), (300, 4), (1, 1), (1, 90)]
)
def test_any_aspect_ratio_comes_back_in_its_own_shape(width: int, height: int) -> None:
    encoders = tiny_encoders()
    *_, result = stylize(
        photo(width, height), "fire", encoders, quick(encoders, size=96, output_size=96, steps=1), seed=1
    )
    assert isinstance(result, Result)
    scale = min(1, 96 / max(width, height))
    assert (result.image.width, result.image.height) == (
        max(1, round(width * scale)),
        max(1, round(height * scale)),
    )


def test_alpha_comes_back_resized() -> None:
    opaque = photo(128, 64)
    alpha = np.zeros((64, 128), np.uint8)
    alpha[:, 64:] = 255
    encoders = tiny_encoders()
    *_, result = stylize(replace(opaque, alpha=alpha), "fire", encoders, quick(encoders, steps=1), seed=1)
    assert isinstance(result, Result)
    assert result.image.alpha is not None
    assert result.image.alpha.shape == (32, 64)
    assert (result.image.alpha[:, 0].max(), result.image.alpha[:, -1].min()) == (0, 255)


def test_bad_input_is_refused_before_any_work() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    bad: list[tuple[type[Exception], Picture, str, dict[str, object], int | None]] = [
        (ConfigError, photo(), "", {}, None),
        (ConfigError, photo(), "a photo", {}, None),
        (ConfigError, photo(), "fire", {}, -1),
        (ConfigError, photo(), "fire", {"crop_size": 60}, None),
    ]
    for kind, picture, text, overrides, seed in bad:
        with pytest.raises(kind):
            next(iter(stylize(picture, text, encoders, quick(encoders, **overrides), seed=seed)))
    assert encoders.clip.seen == []


def test_a_diverging_run_is_an_error() -> None:
    encoders = tiny_encoders()
    config = quick(encoders)
    state = new_state(encoders)
    with torch.no_grad():
        state.net.head.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="smaller"):
        step([state])
    assert config.steps == 3


def test_contrast_spreads_around_the_mean_gray_and_stays_in_range() -> None:
    image = torch.tensor([0.4, 0.6]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    torch.testing.assert_close(adjust_contrast(image, 1.5)[0, 0, 0], torch.tensor([0.35, 0.65]), atol=1e-4, rtol=0)
    assert torch.equal(adjust_contrast(image, 1), image)
    assert adjust_contrast(image, 4).min() >= 0


def test_a_text_share_mixes_the_distance_from_the_text_into_the_patches() -> None:
    paper, mixed, whole = (run(text_share=share, threshold_rejection=False) for share in (0.0, 0.5, 1.0))
    assert len({result.image.rgb.tobytes() for result in (paper, mixed, whole)}) == 3
    assert not np.array_equal(paper.image.rgb, run(crop_overhang=0.5).image.rgb)
    first = [
        next(
            e.losses.patch
            for e in stylize(photo(), "fire", enc, quick(enc, text_share=share), seed=1)
            if isinstance(e, Progress)
        )
        for enc, share in ((tiny_encoders(threshold=0.0), share) for share in (0.0, 0.5, 1.0))
    ]
    assert first[1] == pytest.approx((first[0] + first[2]) / 2, rel=1e-4)


class Narrow(TinyClip):
    """Knows nothing but fire."""

    def confidence(self, sentence: str) -> TextConfidence:
        return TextConfidence(0.9 if "fire" in sentence else 0.1, ("fire", "lava"))


def warnings(encoders: EncoderSet, style: str) -> list[Warning]:
    return [e for e in stylize(photo(), style, encoders, quick(encoders), seed=1) if isinstance(e, Warning)]


def test_an_unknown_text_triggers_a_warning_before_any_step_with_the_nearest_known() -> None:
    encoders = replace(tiny_encoders(), clip=Narrow())
    assert warnings(encoders, "a blaze of fire") == []
    (warning,) = warnings(encoders, "quantum physics")
    assert warning.code == "TEXT_UNFAMILIAR"
    assert "'quantum physics'" in warning.message
    assert "'fire', 'lava'" in warning.message
    first, *_ = (
        event
        for event in stylize(photo(), "quantum physics", encoders, quick(encoders), seed=1)
        if event != Preparing(0, 3)
    )
    assert first == warning


def test_a_result_that_does_not_match_its_text_triggers_a_warning() -> None:
    (warning,) = warnings(tiny_encoders(weak_patch_loss=0.0), "fire")
    assert warning.code == "WEAK_RESULT"
    assert "another seed" in warning.message
    assert warnings(tiny_encoders(weak_patch_loss=2.0), "fire") == []
    assert warnings(tiny_encoders(), "fire") == []


def test_a_run_starts_by_announcing_its_steps_and_the_size_of_its_result() -> None:
    encoders = tiny_encoders()
    first = next(iter(optimize(photo(), spec_of("fire", encoders, quick(encoders), seed=1), encoders)))
    assert first == Started(3, 64, 46, "cpu")


@pytest.mark.parametrize("start", list(Start))
def test_previews_come_by_the_policy_the_start_first_and_just_before_the_progress_of_their_step(start: Start) -> None:
    encoders = tiny_encoders()
    events = list(stylize(photo(), "fire", encoders, quick(encoders, steps=5, start=start), seed=1, every_steps=2))
    kinds = [(type(event), event.step) for event in events if isinstance(event, Progress | Preview)]
    previewed = [(Preview, 0), (Progress, 1), (Preview, 2), (Progress, 2), (Progress, 3), (Preview, 4), (Progress, 4)]
    assert kinds == [*previewed, (Progress, 5)]


def test_no_preview_is_made_of_the_start_unless_previews_are_wanted() -> None:
    encoders = tiny_encoders()
    assert not any(isinstance(event, Preview) for event in stylize(photo(), "fire", encoders, quick(encoders), seed=1))


@pytest.mark.parametrize("start", list(Start))
def test_the_first_preview_is_what_the_first_step_sees(start: Start) -> None:
    encoders = tiny_encoders()
    events = stylize(photo(), "fire", encoders, quick(encoders, start=start), seed=1, every_steps=1)
    first, second = (event for event in events if isinstance(event, Preview) and event.step < 2)
    difference = first.image.rgb.astype(int) - second.image.rgb
    assert np.abs(difference).max() <= 1


def test_what_encoders_do_not_read_is_reported_before_any_work() -> None:
    encoders = registry.load("pocket")
    text = "a sketch with black pencil on rough paper " * 8 + "watercolor"
    events = stylize(photo(), text, encoders, quick(encoders), seed=1)
    warning = next(events)
    assert isinstance(warning, Warning)
    assert warning.code == "TEXT_CUT"
    assert "ignore 'on rough paper" in warning.message
    events.close()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({}, 2 + 1),
        ({"warm_up": 3}, 2 + 1 + SHORTLIST + 3 + 1),
        ({"start": Start.PHOTO}, 2 + 1 + SHORTLIST + 1),
        ({"start": Start.PHOTO, "warm_up": 3}, 2 + 1 + SHORTLIST + 3 + 1),
    ],
)
def test_the_preparation_counts_its_parts_and_can_be_stopped_at_each(options: dict[str, Any], parts: int) -> None:
    encoders = tiny_encoders()
    events = stylize(photo(), "fire", encoders, quick(encoders, **options), seed=1)
    completed = [(event.step, event.steps) for event in events if isinstance(event, Preparing)]
    assert completed == [(step, parts) for step in range(parts + 1)]


@pytest.mark.parametrize("options", [{"start": Start.PHOTO}, {"warm_up": 3}, {"start": Start.PHOTO, "warm_up": 3}])
def test_the_preparation_shows_the_photo_in_some_tint_better_than_random_weights(options: dict[str, Any]) -> None:
    def error(state: RunState) -> float:
        for _ in prepare(state):
            pass
        assert state.output is not None
        shown, image = state.output, state.photo[..., : state.canvas[0], : state.canvas[1]]
        return min(float((shown - tint(image)).abs().mean()) for tint in tints())

    assert error(new_state(tiny_encoders(), **options)) < error(new_state(tiny_encoders()))


def test_the_preparation_leaves_the_optimizer_and_the_crops_as_they_were() -> None:
    prepared, fresh = (new_state(tiny_encoders(), start=Start.PHOTO, warm_up=2) for _ in range(2))
    for _ in prepare(prepared):
        pass
    assert prepared.optimizer.state_dict()["state"] == {}
    assert prepared.fit.updates == 0
    assert all(weight.grad is None for weight in prepared.net.parameters())
    assert torch.equal(prepared.generator.get_state(), fresh.generator.get_state())


def sized_run(**overrides: object) -> list[object]:
    encoders = tiny_encoders()
    spec = spec_of("fire", encoders, quick(encoders, **overrides), seed=1)
    return list(optimize(photo(), spec, encoders))


def test_the_result_has_the_size_of_the_photo_and_is_drawn_after_the_steps() -> None:
    events = sized_run(output_size=0)
    started, result = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(result, Result)
    assert (started.width, started.height) == (result.image.width, result.image.height) == (70, 50)
    kinds = [type(event) for event in events]
    assert kinds[-4:] == [Optimized, Rendering, Rendering, Result]
    (optimized,) = (event for event in events if isinstance(event, Optimized))
    assert optimized.image.rgb.shape == (46, 64, 3)
    # The same picture, sharper.
    shrunk = fit(result.image, 64).rgb.astype(int)
    assert np.abs(shrunk - optimized.image.rgb).mean() < 0.25 * optimized.image.rgb.std()
    assert result.timings.render_s > 0


@pytest.mark.parametrize(("output_size", "expected"), [(64, (46, 64)), (32, (23, 32))])
def test_a_result_that_is_not_larger_is_not_drawn_anew(output_size: int, expected: tuple[int, int]) -> None:
    events = sized_run(output_size=output_size)
    assert not any(isinstance(event, Rendering) for event in events)
    (optimized,) = (event for event in events if isinstance(event, Optimized))
    assert isinstance(events[-1], Result)
    assert events[-1].image.rgb.shape[:2] == expected
    assert np.array_equal(events[-1].image.rgb, fit(optimized.image, output_size).rgb)


def test_the_size_of_the_result_changes_nothing_before_it_is_drawn() -> None:
    runs = [sized_run(output_size=size, enlarge=size > 70) for size in (0, 64, 200)]
    images = [next(event.image.rgb for event in events if isinstance(event, Optimized)) for events in runs]
    assert all(np.array_equal(image, images[0]) for image in images)
    results = [events[-1] for events in runs]
    assert [result.image.rgb.shape[1] for result in results if isinstance(result, Result)] == [70, 64, 200]


def test_a_larger_result_repeats_to_the_byte_and_another_seed_gives_another() -> None:
    first, again, other = (run(seed=seed, output_size=0, input_noise=0.1).image.rgb for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("size", "count"), [((140, 100), 1), ((64, 46), 0)])
def test_the_original_is_loaded_after_the_steps_and_only_if_it_is_needed(size: tuple[int, int], count: int) -> None:
    encoders, events, loads = tiny_encoders(), [], []

    def load() -> Picture:
        loads.append(events[-1])
        return photo(*size)

    spec = spec_of("fire", encoders, quick(encoders), seed=1)
    for event in optimize(photo(), spec, encoders, original=Original(*size, load)):
        events.append(event)
    assert (events[-1].image.width, events[-1].image.height) == size
    assert [type(event) for event in loads] == [Optimized] * count


class ScriptedClock:
    """Stands for the module `time` in a run: seconds go by where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("later", [1.0, 0.5])
def test_the_expected_end_never_moves_away_while_steps_do_not_get_slower(
    later: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preparation as long as ten steps and a slow first step make no difference to it."""
    clock, encoders = ScriptedClock(), tiny_encoders()
    monkeypatch.setattr("clipstyler.optimization.time", clock)
    durations = iter([2.0, *[later] * 9])

    def slow_step(*given: Any) -> Generator[Embedding, None, list[StepReport]]:
        clock.now += next(durations)
        return (yield from step_in_parts(*given))

    monkeypatch.setattr("clipstyler.composition.step_in_parts", slow_step)
    ends, left = [], []
    for event in stylize(photo(), "fire", encoders, quick(encoders, steps=10, warm_up=4), seed=1):
        if isinstance(event, Preparing):
            clock.now += 2.0
        if isinstance(event, Progress):
            ends.append(clock.now + event.remaining_s)
            left.append(event.remaining_s)
    assert len(ends) == 10
    assert all(after <= before + 1e-9 for before, after in pairwise(ends))
    assert all(after < before for before, after in pairwise(left))
    assert ends[-1] == clock.now
