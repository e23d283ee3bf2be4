"""Configuration: presets and calibrations joined, everything checked once, every error naming its field."""

from dataclasses import FrozenInstanceError

import pytest

from clipstyler.config import (
    Calibration,
    ConfigError,
    Preset,
    StylizeConfig,
    TvForm,
    check_seed,
    draw_seed,
    resolve,
)
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec

PAPER = Calibration()


def test_the_paper_preset_with_the_papers_calibration_has_the_papers_numbers() -> None:
    config = resolve(PAPER, Preset.PAPER)
    assert (config.size, config.steps, config.patches) == (512, 200, 64)
    assert config.crop_side(512, 512) == 128
    assert (config.threshold, config.learning_rate, config.contrast) == (0.7, 5e-4, 1.5)
    weights = (config.weight_direction, config.weight_patch, config.weight_content, config.weight_tv)
    assert weights == (500, 9000, 150, 2e-3)


def test_a_preset_sets_the_work_and_a_calibration_the_numbers() -> None:
    draft = resolve(Calibration(threshold=0.3), Preset.DRAFT)
    assert (draft.size, draft.steps, draft.patches, draft.threshold) == (256, 40, 16, 0.3)


def test_what_the_caller_asks_for_wins() -> None:
    config = resolve(PAPER, Preset.PAPER, steps=7, threshold=0.1, size=None)
    assert (config.steps, config.threshold, config.size) == (7, 0.1, 512)


def test_the_two_forms_of_total_variation_never_share_a_weight() -> None:
    norm, squared = (resolve(PAPER, tv_form=form) for form in TvForm)
    assert norm.weight_tv == PAPER.weight_tv_norm
    assert squared.weight_tv == PAPER.weight_tv_squared
    assert norm.weight_tv != squared.weight_tv


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("size", 63),
        ("patches", 0),
        ("crop_size", 7),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("threshold", -0.1),
        ("threshold", 2.1),
        ("weight_patch", float("nan")),
        ("weight_content", float("inf")),
        ("weight_direction", -1.0),
        ("weight_tv", float("-inf")),
        ("contrast", 5.0),
    ],
)
def test_a_value_out_of_range_names_its_field(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^{field}: must be") as caught:
        resolve(PAPER, **{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("learning_rate", 0.3, "must be above 0 and at most 0.1, got 0.3"),
        ("learning_rate", -1e-7, "must be above 0 and at most 0.1, got -1e-07"),
        ("steps", 0, "must be at least 1 and at most 100000, got 0"),
    ],
)
def test_bounds_are_told_in_the_digits_that_people_write(field: str, value: float, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(PAPER, **{field: value})
    assert str(caught.value) == f"{field}: {problem}"


def test_every_bad_value_is_named_in_one_error_with_the_limit_that_holds() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(PAPER, limits={"size": 1024}, size=2000, steps="many", tv_form="cubed", contrast=True, tau=1)
    problems = dict(caught.value.violations)
    assert set(problems) == {"size", "steps", "tv_form", "contrast", "tau"}
    assert "at most 1024" in problems["size"]
    assert "must be a whole number" in problems["steps"]
    assert "use norm, squared" in problems["tv_form"]


def test_a_fitted_configuration_names_its_crop_size_and_computes_the_same() -> None:
    config = resolve(PAPER)
    fitted = config.fitted(256, 192)
    assert fitted.crop_size == config.crop_side(256, 192) == fitted.crop_side(256, 192) == 64


def test_drawn_seeds_survive_javascript() -> None:
    assert all(draw_seed() < 2**53 for _ in range(100))


def test_all_weights_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to optimize"):
        resolve(PAPER, weight_direction=0, weight_patch=0, weight_content=0, weight_tv=0)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match="tau: is unknown"):
        resolve(PAPER, tau=0.7)


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(256, 256, 64), (512, 384, 128), (512, 64, 64), (100, 16, 16), (20, 20, 8)]
)
def test_crops_scale_with_the_image_and_always_fit(width: int, height: int, expected: int) -> None:
    assert resolve(PAPER).crop_side(width, height) == expected


def test_an_explicit_crop_larger_than_the_image_is_refused() -> None:
    config = resolve(PAPER, crop_size=65)
    assert config.crop_side(65, 80) == 65
    with pytest.raises(ConfigError, match=r"larger than the image.*use at most 64"):
        config.crop_side(256, 64)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        check_seed(seed)


def test_a_configuration_is_frozen_and_returns_all_of_its_fields() -> None:
    config = resolve(PAPER)
    with pytest.raises(FrozenInstanceError):
        config.steps = 3
    assert StylizeConfig(**config.as_dict()) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [("threshold", 9), ("template_set", "bad"), ("crop_fraction", 0), ("logit_scale", -1), ("weight_tv_norm", "much")],
)
def test_a_calibration_is_checked_when_it_is_read(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        Calibration(**{name: value})


def test_unknown_names_are_listed_with_every_option_there_is() -> None:
    request = SpecRequest("fire", options={"sed": 1}, previews={"every": 1, "max_size": None})
    with pytest.raises(ConfigError) as caught:
        resolve_spec(request, {"paper": Calibration()}, SpecLimits())
    problems = dict(caught.value.violations)
    assert set(problems) == {"sed", "previews.every"}
    assert "seed" in problems["sed"]
    assert "every_steps" in problems["previews.every"]
