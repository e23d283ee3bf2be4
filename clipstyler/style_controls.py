"""What may be chosen when a style is applied, in one forward pass. No PyTorch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from clipstyler.image_format import LARGEST_OUTPUT
from clipstyler.options import Bounds, ConfigError, Source, Violation, option, options_of


@dataclass(frozen=True, kw_only=True)
class StyleControls:
    """How a style is applied to a photo.

    Raises
    ------
    ConfigError
        Values that cannot be used: all of them in one error.
    """

    strength: float = option(
        "How much of the style is seen: 0 is the photo, 1 the style, more exaggerates it.",
        source=Source.FIXED,
        bounds=Bounds(0, 2),
        default=1.0,
    )
    preserve_color: float = option(
        "How much of the photo's colors is kept under the style's light and dark: 0 none, 1 all.",
        source=Source.FIXED,
        bounds=Bounds(0, 1),
        default=0.0,
    )
    mix: float = option(
        "Share of a second style in the first: 0 none, 1 the second one alone.",
        source=Source.FIXED,
        bounds=Bounds(0, 1),
        default=0.0,
    )
    output_size: int = option(
        "Longest side of the result in pixels; 0: as the photo.",
        source=Source.FIXED,
        bounds=Bounds(0, LARGEST_OUTPUT),
        default=0,
    )

    def __post_init__(self) -> None:
        violations = check_controls(asdict(self))
        if violations:
            raise ConfigError.of(violations)


CONTROL_OPTIONS = options_of(StyleControls)
"""Every control, by the name that all surfaces share."""


def check_controls(values: Mapping[str, object], limits: Mapping[str, float] | None = None) -> list[Violation]:
    """Check the type and bounds of controls; `limits` are upper bounds that are lower than a control's own."""
    violations: list[Violation] = []
    for name, value in values.items():
        declared = CONTROL_OPTIONS[name]
        if limits and name in limits and declared.bounds:
            declared = declared._replace(bounds=declared.bounds._replace(high=limits[name]))
        try:
            declared.parse(value)
        except ConfigError as error:
            violations.extend(error.violations)
    return violations
