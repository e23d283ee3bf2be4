"""A run that ends when it is done: at a target, on a plateau, and by default never before its last step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from clipstyler.config import StylizeConfig, resolve
from clipstyler.events import Losses, Progress, Result, StopReason
from clipstyler.imaging import Picture
from clipstyler.stopping import StopRule
from tests.running import stylize
from tests.tiny_encoders import tiny_encoders


def config(**options: object) -> StylizeConfig:
    return resolve(tiny_encoders().calibration, **{"size": 64, "steps": 40, "patches": 3, **options})


def ending(values: Iterable[float], **options: object) -> tuple[int, StopReason | None]:
    """Play losses; returns the step of the end and its reason."""
    rule, step = StopRule(config(**options)), 0
    for step, value in enumerate(values, 1):
        if reason := rule.add(Losses(1000 * value, 0, value, 0, 0)):
            return step, reason
    return step, None


def test_by_default_a_run_takes_all_its_steps_whatever_happens() -> None:
    assert ending([0.0] * 50) == (40, StopReason.STEPS)
    assert ending([0.5] * 39) == (39, None)


def test_a_target_is_reached_by_the_mean_of_ten_steps() -> None:
    assert ending([0.1] * 50, stop_patch_loss=0.2) == (10, StopReason.TARGET)
    noisy = [0.3, 0.1] * 25
    assert ending(noisy, stop_patch_loss=0.2) == (10, StopReason.TARGET)
    assert ending(noisy, stop_patch_loss=0.19) == (40, StopReason.STEPS)
    assert ending([0.5] * 20 + [0.1] * 20, stop_patch_loss=0.2) == (28, StopReason.TARGET)


def test_a_target_means_nothing_without_patches() -> None:
    assert ending([0.0] * 50, stop_patch_loss=0.2, weight_patch=0) == (40, StopReason.STEPS)


def test_a_plateau_is_a_loss_that_does_not_fall_by_a_hundredth_for_so_many_steps() -> None:
    assert ending([0.5] * 50, stop_patience=15) == (25, StopReason.PLATEAU)  # the first mean is of step 10
    falling = [0.9 * 0.97**n for n in range(40)]
    assert ending(falling, stop_patience=15) == (40, StopReason.STEPS)
    assert ending(falling[:20] + [falling[19]] * 30, stop_patience=10)[1] is StopReason.PLATEAU
    rising = [0.5 + n / 100 for n in range(50)]
    assert ending(rising, stop_patience=5) == (15, StopReason.PLATEAU)


def test_the_last_step_is_the_last_step_also_if_the_target_is_reached_with_it() -> None:
    assert ending([0.1] * 10, stop_patch_loss=0.2, steps=10) == (10, StopReason.STEPS)


PHOTO = Picture(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def run(**options: object) -> tuple[list[Progress], Result[Picture]]:
    encoders = tiny_encoders()
    *events, result = stylize(PHOTO, "fire", encoders, config(**options), seed=1)
    assert isinstance(result, Result)
    return [event for event in events if isinstance(event, Progress)], result


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"stop_patch_loss": 2.0}, StopReason.TARGET), ({"stop_patience": 1, "learning_rate": 1e-9}, StopReason.PLATEAU)],
)
def test_a_run_that_is_done_says_so_and_gives_the_image_of_that_step(
    options: dict[str, float], reason: StopReason
) -> None:
    progress, result = run(**options)
    assert result.stop_reason is reason
    assert 10 <= result.steps == progress[-1].step < 40
    assert progress[-1].remaining_s == 0 < progress[-2].remaining_s
    shorter = {name: value for name, value in options.items() if not name.startswith("stop")}
    _, all_steps = run(**shorter, steps=result.steps)
    assert np.array_equal(result.image.rgb, all_steps.image.rgb)
    assert (all_steps.steps, all_steps.stop_reason) == (result.steps, StopReason.STEPS)
