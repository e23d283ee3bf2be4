"""From the contract's request to the domain: absent fields, enum numbers, limits. Raises with every bad field named."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from clipstyler.config import (
    DEFAULT_PRESET,
    LARGEST_SEED,
    AugmentFill,
    ConfigError,
    Preset,
    StylizeConfig,
    TvForm,
    check_seed,
    resolve,
)
from clipstyler.imaging import Header, ImageError, ImageFormat, fitted_size, read_header
from clipstyler.prompts import check_texts
from clipstyler.v1 import options_pb2
from clipstyler.v1.stylization_service_pb2 import StylizeRequest
from clipstyler_server.engine.base import Encoders, PreviewPolicy
from clipstyler_server.errors import Violation, blame, invalid
from clipstyler_server.settings import Settings

PRESETS: Mapping[int, Preset] = {
    options_pb2.PRESET_DRAFT: Preset.DRAFT,
    options_pb2.PRESET_PAPER: Preset.PAPER,
}
TV_FORMS: Mapping[int, TvForm] = {
    options_pb2.TV_FORM_NORM: TvForm.NORM,
    options_pb2.TV_FORM_SQUARED: TvForm.SQUARED,
}
AUGMENT_FILLS: Mapping[int, AugmentFill] = {
    options_pb2.AUGMENT_FILL_BLACK: AugmentFill.BLACK,
    options_pb2.AUGMENT_FILL_CONTEXT: AugmentFill.CONTEXT,
}
IMAGE_FORMATS: Mapping[int, ImageFormat] = {
    options_pb2.IMAGE_FORMAT_JPEG: ImageFormat.JPEG,
    options_pb2.IMAGE_FORMAT_WEBP: ImageFormat.WEBP,
    options_pb2.IMAGE_FORMAT_PNG: ImageFormat.PNG,
}
PREVIEW_EVERY_STEPS = 10
PREVIEW_MAX_SIZE = 256
SMALLEST_PREVIEW = 16

_PLAIN_OPTIONS = (
    "size",
    "steps",
    "patches",
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
_WEIGHTS = {
    "direction": "weight_direction",
    "patch": "weight_patch",
    "content": "weight_content",
    "total_variation": "weight_tv",
}
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Wish:
    """What a request asks for, complete and within the limits; the photo is known by its header only."""

    style_text: str
    source_text: str
    encoders: str
    preset: Preset
    config: StylizeConfig
    seed: int
    previews: PreviewPolicy
    result_format: ImageFormat
    header: Header


class _Complaints(list[Violation]):
    """Collects what is wrong with the parts of a request, so that the caller is told everything at once."""

    @contextmanager
    def collect(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            self.append(blame(error.field, error.problem))
        except ImageError as error:
            self.append(Violation("image", str(error)))


def read_request(request: StylizeRequest, available: tuple[Encoders, ...], settings: Settings) -> Wish:
    """Read a request.

    Raises
    ------
    ServiceError
        INVALID_FIELD, with a violation for every part that cannot be used.
    """
    complaints = _Complaints()
    header = encoders = config = None
    preset, texts, seed = DEFAULT_PRESET, ("", ""), 0
    with complaints.collect():
        header = read_header(request.image, settings.image_limits)
    with complaints.collect():
        encoders = _encoders(request.options.encoders, available)
    with complaints.collect():
        seed = _seed(request.options)
    with complaints.collect():
        previews = _previews(request.previews, settings)
    with complaints.collect():
        result_format = _enum(IMAGE_FORMATS, request.result_format, "result_format", ImageFormat.PNG)
    if encoders:
        with complaints.collect():
            texts = _texts(request, encoders, settings)
        with complaints.collect():
            preset = _enum(PRESETS, request.options.preset, "options.preset", DEFAULT_PRESET)
            config = _config(request.options, preset, encoders, settings)
    if header and config:
        with complaints.collect():
            config.crop_side(*fitted_size(header.width, header.height, config.size, config.enlarge))
    if complaints or not (header and encoders and config):
        raise invalid(*complaints)
    return Wish(*texts, encoders.name, preset, config, seed, previews, result_format, header)


def _encoders(name: str, available: tuple[Encoders, ...]) -> Encoders:
    if not name:
        return available[0]
    for encoders in available:
        if encoders.name == name:
            return encoders
    known = ", ".join(encoders.name for encoders in available)
    raise ConfigError("encoders", f"{name!r} is not loaded here: use one of {known}")


def _texts(request: StylizeRequest, encoders: Encoders, settings: Settings) -> tuple[str, str]:
    source = request.source_text if request.HasField("source_text") else encoders.calibration.source_text
    return check_texts(request.style_text, source, settings.max_text_characters)


def _seed(options: options_pb2.StylizationOptions) -> int:
    return check_seed(options.seed) if options.HasField("seed") else secrets.randbelow(LARGEST_SEED + 1)


def _config(
    options: options_pb2.StylizationOptions, preset: Preset, encoders: Encoders, settings: Settings
) -> StylizeConfig:
    asked: dict[str, object] = {
        name: getattr(options, name)
        for name in _PLAIN_OPTIONS
        if options.HasField(name)  # type: ignore[arg-type]
    }
    asked |= {
        field: getattr(options.weights, name)
        for name, field in _WEIGHTS.items()
        if options.weights.HasField(name)  # type: ignore[arg-type]
    }
    asked["augment_fill"] = _enum(AUGMENT_FILLS, options.augment_fill, "options.augment_fill", AugmentFill.BLACK)
    tv_form = _enum(TV_FORMS, options.tv_form, "options.tv_form", TvForm.NORM)
    config = resolve(encoders.calibration, preset, tv_form=tv_form, **asked)
    for name, limit in (
        ("size", settings.max_size),
        ("steps", settings.max_steps),
        ("patches", settings.max_patches),
    ):
        value = getattr(config, name)
        if value > limit:
            raise ConfigError(name, f"must be at most {limit} on this server, got {value}")
    return config


def _previews(asked: options_pb2.PreviewOptions, settings: Settings) -> PreviewPolicy:
    every_steps = asked.every_steps if asked.HasField("every_steps") else PREVIEW_EVERY_STEPS
    default_size = min(PREVIEW_MAX_SIZE, settings.max_preview_size)
    max_size = asked.max_size if asked.HasField("max_size") else default_size
    if not SMALLEST_PREVIEW <= max_size <= settings.max_preview_size:
        raise ConfigError(
            "previews.max_size",
            f"must be {SMALLEST_PREVIEW} to {settings.max_preview_size} px on this server, got {max_size}",
        )
    return PreviewPolicy(every_steps, max_size, _enum(IMAGE_FORMATS, asked.format, "previews.format", ImageFormat.JPEG))


def _enum(known: Mapping[int, _Value], number: int, path: str, default: _Value) -> _Value:
    """Translate an enum's number; 0 means the default, as everywhere in the contract."""
    if number == 0:
        return default
    if number not in known:
        names = ", ".join(f"{value} ({key})" for key, value in known.items())
        raise ConfigError(path, f"{number} is unknown to this server: use {names}, or leave it out")
    return known[number]
