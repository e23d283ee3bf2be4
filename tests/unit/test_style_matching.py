"""Which bundled style may stand for a text."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from clipstyler_server.jobs.style_matching import LEAST_SIMILARITY, StyleMatcher

FACTS = SimpleNamespace(name="pocket")
# Of texts; the styles are "fire" and "stained glass".
DIRECTIONS = {
    "fire": (2.0, 0.0),
    "stained glass": (0.0, 3.0),
    "flames": (1.0, 0.2),
    "a church window": (0.1, 1.0),
    "somewhere between": (1.0, 1.0),
    "away from both": (-1.0, -1.0),
}


class Directions:
    """Looks directions up, and notes what it was asked for."""

    def __init__(self, encoder_sets: dict[str, object]) -> None:
        self.facts = encoder_sets
        self.asked: list[tuple[str, str]] = []

    async def find(self, facts: object, style_text: str, source_text: str) -> np.ndarray:
        assert facts is FACTS
        self.asked.append((style_text, source_text))
        return np.array(DIRECTIONS[style_text], np.float32)


def styles() -> SimpleNamespace:
    texts = ("fire", "stained glass")
    described = [SimpleNamespace(style_text=text, source_text="a Photo") for text in texts]
    return SimpleNamespace(bundled=[SimpleNamespace(description=description) for description in described])


def spec(text: str, encoder_set: str = "pocket") -> SimpleNamespace:
    return SimpleNamespace(style_text=text, source_text="a portrait", encoder_set=encoder_set)


async def matched(text: str, directions: Directions | None, encoder_set: str = "pocket") -> tuple[str, float] | None:
    match = await StyleMatcher(styles(), directions).match(spec(text, encoder_set))
    return match and (match.style.description.style_text, match.similarity)


@pytest.mark.parametrize("text", ["fire", " Fire ", "FIRE"])
async def test_the_same_text_matches_without_encoders(text):
    assert await matched(text, None) == ("fire", 1.0)
    directions = Directions({"pocket": FACTS})
    assert await matched(text, directions) == ("fire", 1.0)
    assert not directions.asked


@pytest.mark.parametrize(("text", "expected"), [("flames", "fire"), ("a church window", "stained glass")])
async def test_a_text_of_nearly_the_same_direction_matches(text, expected):
    directions = Directions({"pocket": FACTS})
    style, similarity = await matched(text, directions)
    assert style == expected
    assert similarity == pytest.approx(1 / np.hypot(1, 0.2) if expected == "fire" else 1 / np.hypot(0.1, 1))
    assert directions.asked == [(text, "a portrait"), ("fire", "a Photo"), ("stained glass", "a Photo")]


@pytest.mark.parametrize("text", ["somewhere between", "away from both"])
async def test_a_text_that_is_not_near_enough_matches_none(text):
    assert np.sqrt(0.5) < LEAST_SIMILARITY
    assert await matched(text, Directions({"pocket": FACTS})) is None


async def test_without_the_encoders_of_the_job_only_the_same_text_matches():
    assert await matched("flames", None) is None
    assert await matched("flames", Directions({"pocket": FACTS}), "vit-b-32") is None
    assert await matched("flames", Directions({})) is None
