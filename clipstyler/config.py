"""The configuration of a stylization: presets, calibrations and the one frozen object made of both.

A preset says how much work is done (size, steps, patches). A calibration belongs to a set of encoders and says
what its numbers mean (threshold, weights, learning rate). `resolve` joins them with what the caller asked for,
and validates everything once. No PyTorch here: the server's front process uses this module too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple


class ConfigError(ValueError):
    """A value that cannot be used.

    Parameters
    ----------
    field
        Name of the offending field, as `StylizeConfig` or the caller spells it.
    problem
        What was found and what was expected.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str]]:
        return ConfigError, (self.field, self.problem)


class TvForm(StrEnum):
    """Form of the total variation term."""

    NORM = "norm"  # sum of four unsquared Frobenius norms: the authors' code
    SQUARED = "squared"  # sum of squares: as the paper prints it


class AugmentFill(StrEnum):
    """What a patch shows outside the warped quadrilateral."""

    BLACK = "black"  # as in the paper
    CONTEXT = "context"  # the real neighboring pixels


class Preset(StrEnum):
    """How much work is done; `PRESETS` has the numbers."""

    DRAFT = "draft"
    PAPER = "paper"


class Work(NamedTuple):
    """The three numbers of a preset."""

    size: int
    steps: int
    patches: int


PRESETS = {Preset.DRAFT: Work(256, 60, 16), Preset.PAPER: Work(512, 200, 64)}
DEFAULT_PRESET = Preset.DRAFT


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the numbers of a set of encoders mean. The defaults fit ViT-B/32 with VGG19 (the paper).

    Attributes
    ----------
    threshold
        Tau: patches whose loss is at or below it are rejected, 0 to 2.
    learning_rate
        Of Adam; halved every 100 steps.
    crop_fraction
        Side of a crop as a fraction of the longest side of the fitted image.
    crop_overhang
        How far crops are drawn beyond the image's border before they are moved back onto it, as a fraction of their
        side. 0 is uniform over all places, as in the paper: the outermost pixels are then hardly ever seen.
    text_share
        Share of `1 - cos(E_I, E_T)`, the distance from the text itself, in the loss of a patch; the rest is the
        paper's directional loss, so 0 is the paper.
    input_noise
        Deviation of the noise that StyleNet gets added to the photo, pixels being 0 to 1. 0 is the paper: where a photo
        is flat, StyleNet then has nothing to make a texture from.
    warm_up
        Updates in which StyleNet learns to give the photo back in the colors nearest to the text, before the first
        that counts. 0 is the paper: from the gray that random weights give, a small encoder's gradients may lead into
        wrong colors for good.
    weight_direction, weight_patch, weight_content
        Weights of the directional, PatchCLIP and content losses.
    weight_tv_norm, weight_tv_squared
        Weight of the total variation term in either form. They are not exchangeable: the squared form's gradient
        is some 40 times stronger at one weight on a 512 px photo.
    contrast
        Factor of the final contrast step; 1 changes nothing.
    weak_patch_loss
        A final patch loss above this means that the result does not look like the text. Default: never said.
    logit_scale
        Factor of the cosines in zero-shot classification; 100 is what CLIP learned.
    source_text
        What the photo is called; "a Photo" in the authors' code.
    template_set
        Name of the prompt templates, see `clipstyler.prompts`.
    """

    threshold: float = 0.7
    learning_rate: float = 5e-4
    crop_fraction: float = 0.25
    crop_overhang: float = 0.0
    text_share: float = 0.0
    input_noise: float = 0.0
    warm_up: int = 0
    weight_direction: float = 500.0
    weight_patch: float = 9000.0
    weight_content: float = 150.0
    weight_tv_norm: float = 2e-3
    weight_tv_squared: float = 5e-5
    contrast: float = 1.5
    weak_patch_loss: float | None = None
    logit_scale: float = 100.0
    source_text: str = "a Photo"
    template_set: str = "openai-imagenet"

    def weight_tv(self, form: TvForm) -> float:
        """Return the weight that belongs to a form of the total variation term."""
        return self.weight_tv_norm if form is TvForm.NORM else self.weight_tv_squared


class Bounds(NamedTuple):
    """Closed range of a number, its lower end excluded when `above` is set."""

    low: float
    high: float
    above: bool = False

    def check(self, field: str, value: float) -> None:
        """Raise `ConfigError` unless the value is a finite number in the range."""
        if not math.isfinite(value):
            raise ConfigError(field, f"must be a finite number, got {value}")
        low_is_met = value > self.low if self.above else value >= self.low
        if not (low_is_met and value <= self.high):
            start = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
            raise ConfigError(field, f"must be {start} and at most {self.high:g}, got {value:g}")


MAX_WEIGHT = 1e7
SMALLEST_CROP = 8
LARGEST_SEED = 2**63 - 1
BOUNDS = {
    "size": Bounds(64, 4096),
    "steps": Bounds(1, 100_000),
    "patches": Bounds(1, 1024),
    "crop_size": Bounds(SMALLEST_CROP, 4096),
    "crop_fraction": Bounds(0, 1, above=True),
    "crop_overhang": Bounds(0, 1),
    "text_share": Bounds(0, 1),
    "input_noise": Bounds(0, 1),
    "warm_up": Bounds(0, 1000),
    "learning_rate": Bounds(0, 0.1, above=True),
    "threshold": Bounds(0, 2),
    "weight_direction": Bounds(0, MAX_WEIGHT),
    "weight_patch": Bounds(0, MAX_WEIGHT),
    "weight_content": Bounds(0, MAX_WEIGHT),
    "weight_tv": Bounds(0, MAX_WEIGHT),
    "contrast": Bounds(0, 4),
}


@dataclass(frozen=True, kw_only=True)
class StylizeConfig:
    """Everything that decides how a stylization is computed, validated when it is made.

    A weight of 0 switches its term off. Make one with `resolve`.

    Attributes
    ----------
    size
        Longest side in pixels that the photo is fitted to.
    steps
        Number of optimizer updates.
    patches
        Random crops per step.
    crop_size
        Side of a crop in pixels of the fitted image; None: `crop_fraction` of its longest side.
    enlarge
        Whether a photo smaller than `size` is enlarged.
    threshold_rejection
        Whether patches that satisfy the text are rejected (paper: yes).
    augmentation
        Whether crops go through a random perspective (paper: yes).

    The other fields are those of `Calibration`.

    Raises
    ------
    ConfigError
        A number is not finite or out of its range, or every weight is 0.
    """

    size: int
    steps: int
    patches: int
    learning_rate: float
    threshold: float
    crop_fraction: float
    crop_overhang: float
    text_share: float
    input_noise: float
    warm_up: int
    weight_direction: float
    weight_patch: float
    weight_content: float
    weight_tv: float
    contrast: float
    template_set: str
    crop_size: int | None = None
    enlarge: bool = False
    threshold_rejection: bool = True
    augmentation: bool = True
    augment_fill: AugmentFill = AugmentFill.BLACK
    tv_form: TvForm = TvForm.NORM

    def __post_init__(self) -> None:
        for name, bounds in BOUNDS.items():
            value = getattr(self, name)
            if value is not None:
                bounds.check(name, value)
        if not any((self.weight_direction, self.weight_patch, self.weight_content, self.weight_tv)):
            raise ConfigError("weights", "are all 0, so there is nothing to optimize: keep at least one term on")

    def crop_side(self, width: int, height: int) -> int:
        """Side in pixels of a crop of a fitted image.

        Raises
        ------
        ConfigError
            An explicit `crop_size` is larger than the image's shorter side.
        """
        shorter = min(width, height)
        if self.crop_size is None:
            return min(max(SMALLEST_CROP, round(self.crop_fraction * max(width, height))), shorter)
        if self.crop_size > shorter:
            raise ConfigError(
                "crop_size",
                f"a crop of {self.crop_size} px is larger than the image, which is optimized at {width} x {height} px: "
                f"use at most {shorter}",
            )
        return self.crop_size

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON and logs."""
        return asdict(self)


# Fields of the configuration that a calibration gives; the TV weight depends on the form.
_CALIBRATED = tuple(
    field.name for field in fields(StylizeConfig) if field.name in {f.name for f in fields(Calibration)}
)


def resolve(
    calibration: Calibration,
    preset: Preset = DEFAULT_PRESET,
    *,
    tv_form: TvForm = TvForm.NORM,
    **overrides: Any,
) -> StylizeConfig:
    """Join a preset, a calibration and what the caller asked for into one validated configuration.

    Parameters
    ----------
    calibration
        Of the encoders that will be used.
    preset
        How much work is done.
    tv_form
        Form of the total variation term; decides which of the calibration's weights is used.
    **overrides
        Fields of `StylizeConfig`; None means not asked for.

    Raises
    ------
    ConfigError
        A field is unknown, or its value cannot be used.
    """
    known = {field.name for field in fields(StylizeConfig)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ConfigError(unknown[0], f"is not a field of the configuration: use {', '.join(sorted(known))}")
    values: dict[str, Any] = {name: getattr(calibration, name) for name in _CALIBRATED}
    values |= PRESETS[preset]._asdict()
    values |= {"tv_form": tv_form, "weight_tv": calibration.weight_tv(tv_form)}
    values |= {name: value for name, value in overrides.items() if value is not None}
    return StylizeConfig(**values)


def check_seed(seed: int) -> int:
    """Return the seed, or raise `ConfigError` unless it is 0 to 2^63 - 1."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError("seed", f"must be 0 or more and at most {LARGEST_SEED} (2^63 - 1), got {seed}")
    return seed
