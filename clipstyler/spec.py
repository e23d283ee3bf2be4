"""What is asked for: texts, encoder set, seed, configuration, previews and result format, resolved and validated.

The library, the command and the server resolve requests here; the server stores the resolved spec, so that a job does
not change when defaults do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipstyler.config import (
    CONFIG_OPTIONS,
    DEFAULT_PRESET,
    LARGEST_SEED,
    Calibration,
    ConfigError,
    Preset,
    StylizeConfig,
    Violation,
    check_seed,
    draw_seed,
    resolve,
)
from clipstyler.image_format import ImageFormat
from clipstyler.options import Bounds, Source, option, options_of
from clipstyler.prompts import MAX_CHARACTERS, check_texts
from clipstyler.region import Region, RegionRequest, resolve_region

AUTO_DRAFT = "auto"
"""A draft in the bundled style that is nearest to the text, if one is near enough."""
_STYLE_NAME = re.compile(r"styles/[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class PreviewPolicy:
    """Which previews are made, and whether a draft comes before them."""

    every_steps: int = option(
        "Steps between previews, the first of which shows the start; 0 sends none.",
        source=Source.FIXED,
        bounds=Bounds(0, 100_000),
        default=10,
    )
    max_size: int = option(
        "Longest side of a preview in pixels.", source=Source.FIXED, bounds=Bounds(16, 4096), default=256
    )
    format: ImageFormat = option("Encoding of previews.", source=Source.FIXED, default=ImageFormat.JPEG)
    draft: str = option(
        "Picture in a style at hand before the first preview: auto (the nearest bundled style), or styles/{sha256}.",
        source=Source.FIXED,
        default="",
    )

    def wants(self, step: int) -> bool:
        """Return whether a preview is due after so many steps; 0 is the start."""
        return self.every_steps > 0 and step % self.every_steps == 0


@dataclass(frozen=True, kw_only=True)
class StylizationSpec:
    """A resolved request: nothing is left to be decided."""

    style_text: str
    source_text: str
    preset: Preset = option("Amount of work.", source=Source.FIXED, default=DEFAULT_PRESET)
    encoder_set: str = option("Encoder set that guides the optimization.", source=Source.FIXED)
    seed: int = option(
        "Seed of all random numbers; repeats a result.", source=Source.DRAWN, bounds=Bounds(0, LARGEST_SEED)
    )
    config: StylizeConfig
    previews: PreviewPolicy = PreviewPolicy()
    result_format: ImageFormat = ImageFormat.PNG
    region: Region | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What the result should look like: the style text, and that of a region that has one."""
        return (self.style_text, self.region.text) if self.region and self.region.text else (self.style_text,)


OPTIONS = {**options_of(StylizationSpec), **CONFIG_OPTIONS}
"""Every option of a stylization, by the name that all surfaces share."""
PREVIEW_OPTIONS = options_of(PreviewPolicy)
"""Every option of previews, by name."""


@dataclass(frozen=True)
class SpecLimits:
    """Upper bounds of a request, where they are lower than the library's.

    Attributes
    ----------
    options, previews
        By option.
    text_characters
        Maximum length of a text, at most `clipstyler.prompts.MOST_CHARACTERS`.
    """

    options: Mapping[str, float] | None = None
    previews: Mapping[str, float] | None = None
    text_characters: int = MAX_CHARACTERS


@dataclass(frozen=True)
class SpecRequest:
    """A request before it is resolved: plain values, absent ones left out.

    Attributes
    ----------
    options, previews
        By option; enums as their words.
    result_format
        "png", "jpeg" or "webp"; None for the default.
    region
        What stays, or follows a text of its own; None if everything follows the style text.
    """

    style_text: str
    source_text: str | None = None
    options: Mapping[str, Any] | None = None
    previews: Mapping[str, Any] | None = None
    result_format: str | None = None
    region: RegionRequest | None = None


def resolve_spec(request: SpecRequest, encoder_sets: Mapping[str, Calibration], limits: SpecLimits) -> StylizationSpec:
    """Fill in every default of a request and validate it.

    Parameters
    ----------
    request
        What the caller asks for.
    encoder_sets
        Calibrations of the encoder sets at hand, by name; the first is the default.
    limits
        Upper bounds.

    Raises
    ------
    ConfigError
        Values that cannot be used: all of them in one error. Fields are named by option, `previews.*`, `style_text`,
        `source_text`, `result_format` or `region.*`.
    """
    violations: list[Violation] = []
    asked = {name: value for name, value in (request.options or {}).items() if value is not None}
    for name in sorted(set(asked) - set(OPTIONS)):
        del asked[name]
        violations.append(Violation(name, f"is unknown: use one of {', '.join(OPTIONS)}"))
    encoder_set = asked.pop("encoder_set", "") or next(iter(encoder_sets))
    if encoder_set not in encoder_sets:
        known = ", ".join(encoder_sets)
        violations.append(Violation("encoder_set", f"{encoder_set!r} is not loaded here: use one of {known}"))
    # Whatever else is wrong can still be found with another calibration.
    calibration = encoder_sets.get(encoder_set, next(iter(encoder_sets.values())))
    with _Collected(violations) as collect:
        seed = collect(lambda: check_seed(asked.pop("seed")) if "seed" in asked else draw_seed())
        preset = collect(lambda: OPTIONS["preset"].parse(asked.pop("preset", DEFAULT_PRESET)))
        source = calibration.source_text if request.source_text is None else request.source_text
        texts = collect(lambda: check_texts(request.style_text, source, limits.text_characters))
        previews = collect(lambda: _previews(request.previews or {}, limits.previews or {}))
        result_format = collect(lambda: _result_format(request.result_format))
        region = collect(lambda: resolve_region(request.region, request.style_text, source, limits.text_characters))
        config = collect(lambda: resolve(calibration, preset or DEFAULT_PRESET, limits=limits.options, **asked))
    style_text, source_text = texts
    return StylizationSpec(
        style_text=style_text,
        source_text=source_text,
        preset=preset,
        encoder_set=encoder_set,
        seed=seed,
        config=config,
        previews=previews,
        result_format=result_format,
        region=region,
    )


class _Collected:
    """Runs checks one after the other and raises what all of them found together."""

    def __init__(self, violations: list[Violation]) -> None:
        self._violations = violations

    def __enter__(self) -> Any:
        return self._collect

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._violations:
            raise ConfigError.of(self._violations)

    def _collect(self, check: Any) -> Any:
        try:
            return check()
        except ConfigError as error:
            self._violations.extend(error.violations)
            return None


def _previews(asked: Mapping[str, Any], limits: Mapping[str, float]) -> PreviewPolicy:
    violations: list[Violation] = []
    values: dict[str, Any] = {}
    for name, value in asked.items():
        if name not in PREVIEW_OPTIONS:
            violations.append(Violation(f"previews.{name}", f"is unknown: use one of {', '.join(PREVIEW_OPTIONS)}"))
            continue
        if value is None:
            continue
        declared = PREVIEW_OPTIONS[name]
        if name in limits and declared.bounds:
            declared = declared._replace(bounds=declared.bounds._replace(high=limits[name]))
        try:
            values[name] = declared.parse(value)
        except ConfigError as error:
            violations.append(Violation(f"previews.{name}", error.problem))
    if (draft := values.get("draft")) and draft != AUTO_DRAFT and not _STYLE_NAME.fullmatch(draft):
        problem = f"must be {AUTO_DRAFT!r} or the name of a style, styles/{{sha256}}, got {draft[:80]!r}"
        violations.append(Violation("previews.draft", problem))
    if violations:
        raise ConfigError.of(violations)
    if "max_size" in limits:
        values.setdefault("max_size", int(min(PREVIEW_OPTIONS["max_size"].default, limits["max_size"])))
    return PreviewPolicy(**values)


def _result_format(word: str | None) -> ImageFormat:
    known = [str(image_format) for image_format in ImageFormat]
    if word is not None and word not in known:
        raise ConfigError("result_format", f"{word!r} is unknown: use {', '.join(known)}")
    return ImageFormat(word) if word else ImageFormat.PNG
