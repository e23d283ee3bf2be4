"""The configuration of a stylization: presets, calibrations and the one frozen object that joins them.

A preset states the amount of work (size, steps, patches). A calibration belongs to an encoder set and states what its
numbers mean (threshold, weights, learning rate). `resolve` joins both with what the caller asks for and validates
everything once. No PyTorch here: the server's front process uses this module too.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple

from clipstyler.image_format import LARGEST_OUTPUT
from clipstyler.options import Bounds, ConfigError, Option, Source, Violation, option, options_of, plain

__all__ = [
    "DEFAULT_PRESET",
    "LARGEST_SEED",
    "PRESETS",
    "AugmentFill",
    "Border",
    "Calibration",
    "ConfigError",
    "Preset",
    "Start",
    "StylizeConfig",
    "TemplateSet",
    "TvForm",
    "Violation",
    "Work",
    "check_seed",
    "draw_seed",
    "resolve",
]


class TvForm(StrEnum):
    """Form of the total variation term."""

    NORM = "norm"  # sum of four unsquared Frobenius norms: the authors' code
    SQUARED = "squared"  # sum of squares: as printed in the paper


class AugmentFill(StrEnum):
    """Content of a patch outside the warped quadrilateral."""

    BLACK = "black"  # as in the paper
    CONTEXT = "context"  # the surrounding pixels


class Border(StrEnum):
    """What lies beyond the border of the photo."""

    ZERO = "zero"  # nothing: the paper
    MIRROR = "mirror"  # its mirror image, so that no term of the loss knows the border


class Start(StrEnum):
    """What StyleNet shows before its first update."""

    RANDOM = "random"  # the gray of random weights: the paper
    PHOTO = "photo"  # the photo in the colors nearest to the text


class TemplateSet(StrEnum):
    """Prompt templates that a text is embedded with; `clipstyler.prompts.templates` has them."""

    OPENAI_IMAGENET = "openai-imagenet"  # CLIP's 80
    PLAIN = "plain"  # the text itself


class Preset(StrEnum):
    """Amount of work; `PRESETS` has the numbers."""

    DRAFT = "draft"
    PAPER = "paper"


class Work(NamedTuple):
    """The three numbers of a preset."""

    size: int
    steps: int
    patches: int


PRESETS = {Preset.DRAFT: Work(256, 40, 16), Preset.PAPER: Work(512, 200, 64)}
DEFAULT_PRESET = Preset.DRAFT
LARGEST_SEED = 2**63 - 1
_DRAWN_SEED_BITS = 53  # JSON numbers in JavaScript keep so many
SMALLEST_CROP = 8
_WEIGHT = Bounds(0, 1e7)
_CALIBRATION_BOUNDS = {
    "crop_fraction": Bounds(0, 1, above=True),
    "weight_tv_norm": _WEIGHT,
    "weight_tv_squared": _WEIGHT,
    "logit_scale": Bounds(0, 1e4, above=True),
}


def _calibrated(default: Any, help: str, bounds: Bounds | None = None) -> Any:
    return option(help, source=Source.CALIBRATION, bounds=bounds, default=default)


@dataclass(frozen=True, kw_only=True)
class CalibratedOptions:
    """Options whose defaults belong to an encoder set. The values here fit ViT-B/32 with VGG19 (the paper).

    The learning rate is halved every 100 steps. A crop overhang of 0 draws crops uniformly over all places, as in the
    paper: the outermost pixels are then hardly ever seen; 0.5 with a mirrored border shows all of them equally often.
    Without input noise (the paper), StyleNet has nothing to make texture from in flat areas. From a random start (the
    paper), a small encoder's gradients may lead into wrong colors for good; a start from the photo solves for
    StyleNet's last layers in closed form. Warm-up steps come after either.
    """

    learning_rate: float = _calibrated(5e-4, "Adam learning rate.", Bounds(0, 0.1, above=True))
    threshold: float = _calibrated(0.7, "Patch loss at or below which a patch is rejected.", Bounds(0, 2))
    weight_direction: float = _calibrated(500.0, "Weight of the global directional CLIP loss.", _WEIGHT)
    weight_patch: float = _calibrated(9000.0, "Weight of the PatchCLIP loss.", _WEIGHT)
    weight_content: float = _calibrated(150.0, "Weight of the content loss.", _WEIGHT)
    contrast: float = _calibrated(1.5, "Factor of the final contrast step; 1 changes nothing.", Bounds(0, 4))
    crop_overhang: float = _calibrated(
        0.0, "How far crops extend beyond the border, as a fraction of the crop size; weights the border.", Bounds(0, 1)
    )
    text_share: float = _calibrated(
        0.0, "Share of the distance from the text itself in the patch loss; 0 is the paper.", Bounds(0, 1)
    )
    distinctness: float = _calibrated(
        0.0, "Share of what all looks have in common that is taken away from the text; 0 is the paper.", Bounds(0, 1)
    )
    input_noise: float = _calibrated(
        0.0, "Standard deviation of the noise on StyleNet's input; adds texture to flat areas.", Bounds(0, 1)
    )
    noise_octaves: int = _calibrated(
        1, "Octaves of the input noise, each twice as coarse as the one before; more hide slow light.", Bounds(1, 8)
    )
    border: Border = _calibrated(
        Border.ZERO, "What StyleNet, crops and the losses see beyond the photo's border: zeros, or its mirror image."
    )
    start: Start = _calibrated(
        Start.RANDOM, "What StyleNet shows before its first update: random weights, or the photo in suitable colors."
    )
    warm_up: int = _calibrated(0, "Steps that only reproduce the photo, before the first counted one.", Bounds(0, 1000))
    template_set: TemplateSet = _calibrated(TemplateSet.OPENAI_IMAGENET, "Prompt templates.")


@dataclass(frozen=True, kw_only=True)
class Calibration(CalibratedOptions):
    """What the numbers of an encoder set mean.

    Attributes
    ----------
    crop_fraction
        Side of a crop as a fraction of the longest side of the fitted image, above 0 and at most 1.
    weight_tv_norm, weight_tv_squared
        Weight of the total variation term in either form. They are not interchangeable: at the same weight the squared
        form's gradient is some 40 times stronger on a 512 px photo.
    weak_patch_loss
        A final patch loss above this triggers the warning WEAK_RESULT; None never does.
    logit_scale
        Factor of the cosines in zero-shot classification; CLIP learned 100.
    source_text
        What the photo is called; "a Photo" in the authors' code.

    Raises
    ------
    ConfigError
        Values that cannot be used: all of them in one error.
    """

    crop_fraction: float = 0.25
    weight_tv_norm: float = 2e-3
    weight_tv_squared: float = 5e-5
    weak_patch_loss: float | None = None
    logit_scale: float = 100.0
    source_text: str = "a Photo"

    def __post_init__(self) -> None:
        values = asdict(self)
        violations = check_values(values)
        for name, bounds in _CALIBRATION_BOUNDS.items():
            try:
                Option(name, float, "", bounds, Source.FIXED, None).parse(values[name])
            except ConfigError as error:
                violations += error.violations
        if violations:
            raise ConfigError.of(violations)

    def weight_tv(self, form: TvForm) -> float:
        """Return the weight of the total variation term in a form."""
        return self.weight_tv_norm if form is TvForm.NORM else self.weight_tv_squared


@dataclass(frozen=True, kw_only=True)
class StylizeConfig(CalibratedOptions):
    """Everything that determines how a stylization is computed, validated on construction.

    A weight of 0 switches its term off. `resolve` makes one.

    Attributes
    ----------
    crop_size
        Side of a crop in pixels of the fitted image; None stands for `crop_fraction` of its longest side.
    crop_fraction
        The calibration's.

    Raises
    ------
    ConfigError
        Values that cannot be used: all of them in one error.
    """

    size: int = option(
        "Longest side in pixels at which the photo is optimized.", source=Source.PRESET, bounds=Bounds(64, 4096)
    )
    steps: int = option("Number of optimizer steps.", source=Source.PRESET, bounds=Bounds(1, 100_000))
    patches: int = option("Random crops per step.", source=Source.PRESET, bounds=Bounds(1, 1024))
    weight_tv: float = option("Weight of the total variation term.", source=Source.CALIBRATION, bounds=_WEIGHT)
    crop_fraction: float
    crop_size: int | None = option(
        "Side of a crop in pixels of the fitted image; smaller gives finer texture.",
        source=Source.CALIBRATION,
        bounds=Bounds(SMALLEST_CROP, 4096),
        default=None,
    )
    output_size: int = option(
        "Longest side of the result in pixels, however small the size is; 0: as the photo.",
        source=Source.FIXED,
        bounds=Bounds(0, LARGEST_OUTPUT),
        default=0,
    )
    enlarge: bool = option(
        "Enlarge a photo that is smaller than the size or the output size.", source=Source.FIXED, default=False
    )
    threshold_rejection: bool = option("Reject patches that already match the text.", source=Source.FIXED, default=True)
    augmentation: bool = option("Warp crops by a random perspective.", source=Source.FIXED, default=True)
    augment_fill: AugmentFill = option(
        "Content of a patch outside the warped quadrilateral.", source=Source.FIXED, default=AugmentFill.BLACK
    )
    tv_form: TvForm = option("Form of the total variation term.", source=Source.FIXED, default=TvForm.NORM)
    stop_patch_loss: float = option(
        "Patch loss, averaged over ten steps, at or below which the run ends early; 0 never ends it.",
        source=Source.FIXED,
        bounds=Bounds(0, 2),
        default=0.0,
    )
    stop_patience: int = option(
        "Steps without a fall of the loss by 1 % after which the run ends early; 0 never ends it.",
        source=Source.FIXED,
        bounds=Bounds(0, 100_000),
        default=0,
    )

    keep_style: bool = option(
        "Keep the fitted network with the result, to apply it to other photos.", source=Source.FIXED, default=False
    )

    def __post_init__(self) -> None:
        violations = check_values(asdict(self))
        if not any((self.weight_direction, self.weight_patch, self.weight_content, self.weight_tv)):
            violations.append(
                Violation(
                    "weight_patch", "all weights are 0, so there is nothing to optimize: keep one term switched on"
                )
            )
        if violations:
            raise ConfigError.of(violations)

    def crop_side(self, width: int, height: int, part: int | None = None) -> int:
        """Return the side in pixels of a crop of a fitted image.

        Parameters
        ----------
        width, height
            Of the image.
        part
            Pixels of the part of it that crops are to show: none is larger than that. None for all of it.

        Raises
        ------
        ConfigError
            An explicit `crop_size` is larger than the image's shorter side, or than the part.
        """
        shorter = min(width, height)
        most = shorter if part is None else min(shorter, math.isqrt(part))
        if self.crop_size is None:
            return min(max(SMALLEST_CROP, round(self.crop_fraction * max(width, height))), most)
        if self.crop_size > most:
            what = "image" if most == shorter else f"rest beside the region, {part} px, of the image"
            raise ConfigError(
                "crop_size",
                f"a crop of {self.crop_size} px is larger than the {what}, "
                f"which is optimized at {width} x {height} px: use at most {most}",
            )
        return self.crop_size

    def fitted(self, width: int, height: int, part: int | None = None) -> StylizeConfig:
        """Return this configuration with the crop size for a fitted image filled in; parameters as of `crop_side`.

        An image with a side under 8 px keeps None, which is worked out anew.
        """
        side = self.crop_side(width, height, part)
        return replace(self, crop_size=side) if side >= SMALLEST_CROP else self

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON and logs."""
        return asdict(self)


CONFIG_OPTIONS = options_of(StylizeConfig)
"""The options of a configuration, by name."""


def check_values(values: Mapping[str, Any], limits: Mapping[str, float] | None = None) -> list[Violation]:
    """Check the type and bounds of options; None is skipped.

    Parameters
    ----------
    values
        By name; names that are no option are skipped.
    limits
        Upper bounds that are lower than an option's own, such as a server's.
    """
    violations: list[Violation] = []
    for name, value in values.items():
        declared = CONFIG_OPTIONS.get(name)
        if declared is None or value is None:
            continue
        if limits and name in limits and declared.bounds:
            declared = declared._replace(bounds=declared.bounds._replace(high=limits[name]))
        try:
            declared.parse(value)
        except ConfigError as error:
            violations.extend(error.violations)
    return violations


# Fields of the configuration that a calibration gives by the same name.
_CALIBRATED = tuple(
    field.name for field in fields(StylizeConfig) if field.name in {f.name for f in fields(Calibration)}
)


def resolve(
    calibration: Calibration,
    preset: Preset = DEFAULT_PRESET,
    *,
    limits: Mapping[str, float] | None = None,
    **overrides: Any,
) -> StylizeConfig:
    """Join a preset, a calibration and what the caller asks for into one validated configuration.

    Parameters
    ----------
    calibration
        Of the encoder set that will be used.
    preset
        Amount of work.
    limits
        Upper bounds that are lower than an option's own, such as a server's, by option.
    **overrides
        Options by name; None stands for the default. Enums may be given as their words.

    Raises
    ------
    ConfigError
        Unknown options and values that cannot be used: all of them in one error.
    """
    asked = {name: value for name, value in overrides.items() if value is not None}
    violations = [
        Violation(name, f"is unknown: use one of {', '.join(CONFIG_OPTIONS)}")
        for name in sorted(asked)
        if name not in CONFIG_OPTIONS
    ]
    values: dict[str, Any] = {name: getattr(calibration, name) for name in _CALIBRATED}
    values |= PRESETS[preset]._asdict() | asked
    violations += check_values(values, limits)
    if violations:
        raise ConfigError.of(violations)
    values = {name: CONFIG_OPTIONS[name].parse(v) if name in CONFIG_OPTIONS else v for name, v in values.items()}
    values.setdefault("weight_tv", calibration.weight_tv(values.get("tv_form", TvForm.NORM)))
    return StylizeConfig(**values)


def check_seed(seed: int) -> int:
    """Return the seed, or raise `ConfigError` unless it is 0 to 2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise ConfigError("seed", f"must be at least 0 and at most {LARGEST_SEED} (2^63 - 1), got {plain(seed)}")
    return seed


def draw_seed() -> int:
    """Draw a seed from the system: 53 bits, so that JSON in JavaScript keeps it."""
    return secrets.randbits(_DRAWN_SEED_BITS)
