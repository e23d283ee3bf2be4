"""Finds the bundled style that may stand for a text: the one of the same text, or the nearest by text direction."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import numpy as np

from clipstyler.spec import StylizationSpec
from clipstyler_server.jobs.directions import DirectionLookup
from clipstyler_server.jobs.style_store import StoredStyle, StyleStore
from clipstyler_server.workers.evaluator.messages import EncoderFacts, Floats

LEAST_SIMILARITY = 0.8
"""Cosine of two text directions from which on one style may stand for the other."""


class Match(NamedTuple):
    """A style, and the cosine of the direction of its text and that of the text it may stand for."""

    style: StoredStyle
    similarity: float


class StyleMatcher:
    """Compares texts with those of the bundled styles.

    Parameters
    ----------
    styles
        Has them.
    directions
        Finds text directions; without it only the same text matches.
    """

    def __init__(self, styles: StyleStore, directions: DirectionLookup | None) -> None:
        self._styles = styles
        self._directions = directions
        self._turns = asyncio.Lock()

    async def match(self, spec: StylizationSpec) -> Match | None:
        """Return the style that may stand for a text; None if none is near enough.

        Raises
        ------
        ServiceError
            As `EvaluatorClient.ask`.
        """
        for style in self._styles.bundled:
            if _words(style.description.style_text) == _words(spec.style_text):
                return Match(style, 1.0)
        facts = self._directions.facts.get(spec.encoder_set) if self._directions else None
        if self._directions is None or facts is None:
            return None
        async with self._turns:  # what one job has computed is there for the next
            matches = await self._matches(self._directions, facts, spec)
        best = max(matches, key=lambda match: match.similarity)
        return best if best.similarity >= LEAST_SIMILARITY else None

    async def _matches(self, directions: DirectionLookup, facts: EncoderFacts, spec: StylizationSpec) -> list[Match]:
        wanted = await directions.find(facts, spec.style_text, spec.source_text)
        matches = []
        for style in self._styles.bundled:
            described = style.description
            found = await directions.find(facts, described.style_text, described.source_text)
            matches.append(Match(style, _cosine(wanted, found)))
        return matches


def _words(text: str) -> str:
    """Return a text as it is compared: letters of one case, single spaces."""
    return " ".join(text.casefold().split())


def _cosine(one: Floats, other: Floats) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))
