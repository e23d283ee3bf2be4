"""A part of the photo that stays as it is, or follows a text of its own: what is asked for, validated. No PyTorch here.

Which pixels that is depends on the size of an image: `clipstyler.masking` works it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clipstyler.options import Bounds, ConfigError, Violation
from clipstyler.prompts import MAX_CHARACTERS, check_text, normalize

DEFAULT_FEATHER = 0.01
MAX_BOXES = 64
_FEATHER = Bounds(0, 0.1)
_PART = Bounds(0, 1)
_SIDE = Bounds(0, 1, above=True)
_ROUNDING = 1e-6  # of sums such as 0.1 + 0.9


class Box(NamedTuple):
    """A rectangle in fractions of the photo's width and height, from its upper left corner as it is displayed."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class RegionRequest:
    """A region as it is asked for: plain values.

    Attributes
    ----------
    has_mask
        Whether there is a mask image.
    boxes
        Each four fractions: x, y, width, height.
    text
        What the region should look like; None if it is to stay as it is.
    feather
        None for the default.
    """

    has_mask: bool = False
    boxes: Sequence[Sequence[float]] = ()
    text: str | None = None
    feather: float | None = None


@dataclass(frozen=True)
class Region:
    """A resolved region: what its mask and its boxes cover together.

    Attributes
    ----------
    has_mask
        Whether there is a mask image: its white pixels belong to the region.
    boxes
        Rectangles that belong to the region.
    text
        What it should look like; None if it stays as it is.
    feather
        Width of the transition, as a fraction of the longest side. It lies outside the region.
    mask_digest
        SHA-256 of the mask's file in hexadecimal; empty if there is none.
    """

    has_mask: bool = False
    boxes: tuple[Box, ...] = ()
    text: str | None = None
    feather: float = DEFAULT_FEATHER
    mask_digest: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether it stays as it is."""
        return self.text is None

    @property
    def field(self) -> str:
        """The field that says where it is."""
        if not self.boxes:
            return "region.mask"
        return "region" if self.has_mask else "region.boxes"


def resolve_region(
    request: RegionRequest | None, style_text: str, source_text: str, max_characters: int = MAX_CHARACTERS
) -> Region | None:
    """Validate a region; None for None.

    Parameters
    ----------
    request
        What is asked for.
    style_text, source_text
        Of the whole: the region's text must be another one.
    max_characters
        Maximum length of a text.

    Raises
    ------
    ConfigError
        Values that cannot be used: all of them in one error, named `region.*`.
    """
    if request is None:
        return None
    violations: list[Violation] = []
    boxes = _boxes(request.boxes, violations)
    if not request.has_mask and _is_list(request.boxes) and not request.boxes:
        field = "region.mask" if request.text is None else "region.text"
        violations.append(Violation(field, "there is no region: give a mask, or boxes"))
    text = request.text
    feather = DEFAULT_FEATHER if request.feather is None else request.feather
    try:
        _number("region.feather", feather, _FEATHER)
    except ConfigError as error:
        violations.extend(error.violations)
    try:
        text = None if text is None else _text(text, style_text, source_text, max_characters)
    except ConfigError as error:
        violations.extend(error.violations)
    if violations:
        raise ConfigError.of(violations)
    return Region(request.has_mask, boxes, text, float(feather))


def _text(text: str, style_text: str, source_text: str, max_characters: int) -> str:
    normal = check_text("region.text", text, max_characters)
    for other, whose in ((style_text, "style"), (source_text, "source")):
        if isinstance(other, str) and normal.casefold() == normalize(other).casefold():
            raise ConfigError("region.text", f"is the same as the {whose} text {normal!r}: describe another look")
    return normal


def _boxes(boxes: Sequence[Sequence[float]], violations: list[Violation]) -> tuple[Box, ...]:
    if not _is_list(boxes):
        violations.append(Violation("region.boxes", f"must be a list of boxes, got {type(boxes).__name__}"))
        return ()
    if len(boxes) > MAX_BOXES:
        violations.append(Violation("region.boxes", f"has {len(boxes)} boxes, the limit is {MAX_BOXES}: use a mask"))
        return ()
    found = []
    for number, box in enumerate(boxes):
        field = f"region.boxes[{number}]"
        problems = list(_problems(field, box))
        violations.extend(problems)
        if not problems:
            found.append(Box(*map(float, box)))
    return tuple(found)


def _problems(field: str, box: Sequence[float]) -> Iterable[Violation]:
    if not _is_list(box) or len(box) != len(Box._fields):
        yield Violation(field, f"must be four fractions of the photo, x, y, width and height, got {box!r}")
        return
    sound = True
    for name, value, bounds in zip(Box._fields, box, (_PART, _PART, _SIDE, _SIDE), strict=True):
        try:
            _number(name, value, bounds)
        except ConfigError as error:
            sound = False
            yield Violation(field, f"{name} {error.problem}")
    if not sound:
        return
    for start, side in ((0, 2), (1, 3)):
        if box[start] + box[side] > 1 + _ROUNDING:
            name, size = Box._fields[start], Box._fields[side]
            end = f"{box[start]:g} + {box[side]:g}"
            yield Violation(field, f"ends outside the photo: {name} + {size} is {end}, at most 1")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _number(field: str, value: object, bounds: Bounds) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(field, f"must be a number, got {value!r}")
    bounds.check(field, value)
