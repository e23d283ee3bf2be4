"""What is asked of a region: every bad value is named, before any work."""

from __future__ import annotations

import pytest

from clipstyler.config import Calibration, ConfigError
from clipstyler.region import MAX_BOXES, Box, Region, RegionRequest, resolve_region
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec


def resolved(request: RegionRequest) -> Region:
    region = resolve_region(request, "fire", "a Photo")
    assert region is not None
    return region


def bad_fields(**values: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve_region(RegionRequest(**values), "fire", "a Photo")
    return [violation.field for violation in caught.value.violations]


def test_a_region_is_what_mask_and_boxes_cover_and_stays_unless_it_has_a_text() -> None:
    kept = resolved(RegionRequest(True, [(0, 0.1, 0.5, 0.9)]))
    assert kept == Region(True, (Box(0.0, 0.1, 0.5, 0.9),), None, 0.01)
    assert kept.is_kept
    styled = resolved(RegionRequest(True, text="  solid   gold ", feather=0))
    assert (styled.text, styled.feather, styled.is_kept) == ("solid gold", 0.0, False)
    assert resolve_region(None, "fire", "a Photo") is None


def test_sums_may_miss_1_by_rounding() -> None:
    assert resolved(RegionRequest(boxes=[(0.1, 0.7, 0.9, 0.3)])).boxes == (Box(0.1, 0.7, 0.9, 0.3),)


@pytest.mark.parametrize(
    ("box", "problems"),
    [
        ((0.5, 0, 0.6, 1), ["x + width is 0.5 + 0.6"]),
        ((0, 0.5, 1, 0.6), ["y + height is 0.5 + 0.6"]),
        ((0.6, 0.6, 0.6, 0.6), ["x + width", "y + height"]),
        ((-0.1, 0, 0.5, 2), ["x must be at least 0", "height must be above 0 and at most 1, got 2"]),
        ((0, 0, 0, 1), ["width must be above 0"]),
        ((0, float("nan"), 1, float("inf")), ["y must be a finite number", "height must be a finite number"]),
        ((True, "0", 1, 1), ["x must be a number", "y must be a number, got '0'"]),
        ((0, 0, 1), ["must be four fractions"]),
        ("0,0,1,1", ["must be four fractions"]),
        (7, ["must be four fractions"]),
    ],
)
def test_a_box_outside_the_photo_is_refused_with_the_side_that_is_wrong(box: object, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_region(RegionRequest(boxes=[(0, 0, 1, 0.5), box]), "fire", "a Photo")
    assert [violation.field for violation in caught.value.violations] == ["region.boxes[1]"] * len(problems)
    for violation, words in zip(caught.value.violations, problems, strict=True):
        assert words in violation.problem


def test_everything_is_named_at_once() -> None:
    assert bad_fields(boxes=[(0, 0, 2, 1), (0, 0, 1)], feather=0.5, text="Fire ") == [
        "region.boxes[0]",
        "region.boxes[1]",
        "region.feather",
        "region.text",
    ]


@pytest.mark.parametrize("text", ["", "FIRE", "a photo", "x" * 501, "a\x00b"])
def test_a_text_that_cannot_be_used_is_refused(text: str) -> None:
    assert bad_fields(has_mask=True, text=text) == ["region.text"]


def test_a_text_or_a_feather_needs_a_region() -> None:
    assert bad_fields(text="gold") == ["region.text"]
    assert bad_fields(feather=0.02) == ["region.mask"]


def test_more_boxes_than_the_limit_are_refused() -> None:
    boxes = [(0.0, 0.0, 0.1, 0.1)] * MAX_BOXES
    assert len(resolved(RegionRequest(boxes=boxes)).boxes) == MAX_BOXES
    assert bad_fields(boxes=[*boxes, boxes[0]]) == ["region.boxes"]


def test_a_spec_names_bad_regions_together_with_everything_else() -> None:
    request = SpecRequest("", options={"steps": 0}, region=RegionRequest(text="gold"))
    with pytest.raises(ConfigError) as caught:
        resolve_spec(request, {"tiny": Calibration()}, SpecLimits())
    assert {violation.field for violation in caught.value.violations} == {"style_text", "steps", "region.text"}


def test_the_texts_of_a_spec_are_those_that_something_looks_like() -> None:
    def texts(region: RegionRequest | None) -> tuple[str, ...]:
        return resolve_spec(SpecRequest("fire", region=region), {"tiny": Calibration()}, SpecLimits()).texts

    assert texts(None) == texts(RegionRequest(True)) == ("fire",)
    assert texts(RegionRequest(True, text="gold")) == ("fire", "gold")
