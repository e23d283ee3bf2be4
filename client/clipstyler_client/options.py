"""What a caller may ask for. Everything is optional: what is None, the server decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clipstyler.v1 import options_pb2

PRESETS = {"draft": options_pb2.PRESET_DRAFT, "paper": options_pb2.PRESET_PAPER}
TV_FORMS = {"norm": options_pb2.TV_FORM_NORM, "squared": options_pb2.TV_FORM_SQUARED}
AUGMENT_FILLS = {"black": options_pb2.AUGMENT_FILL_BLACK, "context": options_pb2.AUGMENT_FILL_CONTEXT}
IMAGE_FORMATS = {
    "jpeg": options_pb2.IMAGE_FORMAT_JPEG,
    "webp": options_pb2.IMAGE_FORMAT_WEBP,
    "png": options_pb2.IMAGE_FORMAT_PNG,
}


class OptionError(ValueError):
    """An option that cannot even be sent: `field` names it, `problem` says why."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class StylizeOptions:
    """How a stylization is computed; see `StylizationOptions` in the contract for ranges and defaults.

    Attributes
    ----------
    preset
        "draft" or "paper".
    size, steps, patches
        Longest side in pixels, optimizer updates, random crops per step.
    seed
        Of everything random; the same seed repeats a result.
    encoders
        Name of the encoders that guide the optimization.
    crop_size
        Side of a crop in pixels: smaller gives finer texture.
    learning_rate, threshold, contrast
        Of Adam; at or below which a patch is rejected; of the final contrast step.
    crop_overhang
        How far crops are drawn beyond the border before they are moved back, as a fraction of their side.
    text_share
        Share of the distance from the text itself in the loss of a patch, 0 to 1.
    input_noise
        Deviation of the noise added to the photo that StyleNet sees, 0 to 1.
    warm_up
        Updates in which StyleNet learns to give the photo back, before the first that counts.
    threshold_rejection, augmentation
        False switches it off.
    augment_fill, tv_form
        "black" or "context"; "norm" or "squared".
    weight_direction, weight_patch, weight_content, weight_tv
        Weights of the loss terms; 0 switches a term off.
    enlarge
        Whether a photo smaller than `size` is enlarged.
    """

    preset: str | None = None
    size: int | None = None
    steps: int | None = None
    patches: int | None = None
    seed: int | None = None
    encoders: str | None = None
    crop_size: int | None = None
    learning_rate: float | None = None
    threshold: float | None = None
    threshold_rejection: bool | None = None
    augmentation: bool | None = None
    augment_fill: str | None = None
    weight_direction: float | None = None
    weight_patch: float | None = None
    weight_content: float | None = None
    weight_tv: float | None = None
    tv_form: str | None = None
    contrast: float | None = None
    crop_overhang: float | None = None
    text_share: float | None = None
    input_noise: float | None = None
    warm_up: int | None = None
    enlarge: bool | None = None


@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """Which previews are sent: every so many steps (0 none), how large, and "jpeg", "webp" or "png"."""

    every_steps: int | None = None
    max_size: int | None = None
    format: str | None = None


# Fields that both sides call alike.
_PLAIN = (
    "size",
    "steps",
    "patches",
    "seed",
    "encoders",
    "crop_size",
    "learning_rate",
    "threshold",
    "threshold_rejection",
    "augmentation",
    "contrast",
    "crop_overhang",
    "text_share",
    "input_noise",
    "warm_up",
    "enlarge",
)
_CHOICES: dict[str, Mapping[str, int]] = {"preset": PRESETS, "tv_form": TV_FORMS, "augment_fill": AUGMENT_FILLS}
_WEIGHTS = {
    "weight_direction": "direction",
    "weight_patch": "patch",
    "weight_content": "content",
    "weight_tv": "total_variation",
}


def options_to_proto(options: StylizeOptions) -> options_pb2.StylizationOptions:
    """Translate options into the contract's message.

    Raises
    ------
    OptionError
        A choice is none of the known ones, or a number does not fit its field.
    """
    message = options_pb2.StylizationOptions()
    for name in _PLAIN:
        _assign(message, name, getattr(options, name))
    for name, choices in _CHOICES.items():
        _assign(message, name, _choose(name, choices, getattr(options, name)))
    for name, field in _WEIGHTS.items():
        _assign(message.weights, field, getattr(options, name), name)
    return message


def options_from_proto(message: options_pb2.StylizationOptions) -> StylizeOptions:
    """Translate the contract's message into options; absent fields become None."""
    present = {descriptor.name for descriptor, _ in message.ListFields()}
    values = {name: getattr(message, name) for name in _PLAIN if name in present}
    for name, choices in _CHOICES.items():
        values[name] = _name(choices, getattr(message, name))
    weights = {descriptor.name: value for descriptor, value in message.weights.ListFields()}
    values |= {name: weights.get(field) for name, field in _WEIGHTS.items()}
    return StylizeOptions(**values)


def previews_to_proto(previews: PreviewOptions) -> options_pb2.PreviewOptions:
    """Translate the preview policy into the contract's message.

    Raises
    ------
    OptionError
        The format is none of the known ones, or a number does not fit its field.
    """
    message = options_pb2.PreviewOptions()
    _assign(message, "every_steps", previews.every_steps)
    _assign(message, "max_size", previews.max_size)
    _assign(message, "format", image_format_to_proto("format", previews.format))
    return message


def image_format_to_proto(field: str, name: str | None) -> int | None:
    """Translate "jpeg", "webp" or "png"; None stays None."""
    return _choose(field, IMAGE_FORMATS, name)


def image_format_from_proto(value: int) -> str:
    """Translate an image format into "jpeg", "webp" or "png"; "" for an unknown one."""
    return _name(IMAGE_FORMATS, value) or ""


def _assign(message: object, field: str, value: object, name: str | None = None) -> None:
    if value is None:
        return
    try:
        setattr(message, field, value)
    except (TypeError, ValueError) as error:
        raise OptionError(name or field, f"{value!r} does not fit: {error}") from error


def _choose(field: str, choices: Mapping[str, int], name: str | None) -> int | None:
    if name is None:
        return None
    if name not in choices:
        raise OptionError(field, f"{name!r} is unknown: use one of {', '.join(choices)}")
    return choices[name]


def _name(choices: Mapping[str, int], value: int) -> str | None:
    return next((name for name, number in choices.items() if number == value), None)
