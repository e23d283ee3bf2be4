"""The prompt doctor: what to expect of a text before minutes are spent on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from clipstyler.config import Calibration, TemplateSet
from clipstyler.encoders.inference import Floats, InferenceEncoders, image_of, l2_normalize
from clipstyler.evaluation.text_directions import embed_text, text_guidance
from clipstyler.evaluation.text_length import ignored_part
from clipstyler.imaging import Picture
from clipstyler.pocket.knowledge import known_concepts
from clipstyler.prompts import check_texts, shortened
from clipstyler_lab.anchors import LOOKS, OBJECTS
from clipstyler_lab.provenance import described

_NEAREST = 3
_LEADING = 3  # anchors of either kind that count: the nearest ones
_CLEAR = 0.75  # probability from which on a text is called an object
_FAMILIAR = 0.5  # confidence from which on a text counts as known, as in the warning of a stylization
_NAMES = known_concepts()[1:]
_MEASURED = files("clipstyler_lab").joinpath("measured", "pocket.json")


class Near(NamedTuple):
    """A known look and the cosine of its text with the checked one."""

    name: str
    cosine: float


class SeedSpread(NamedTuple):
    """How much results of different seeds differ, as the laboratory measured it; see `measures.Spread`.

    Attributes
    ----------
    text
        That was measured.
    style, pixels
        Relative distance of style statistics, and root mean square difference of pixels in [0, 1].
    usual_style
        Median over all measured texts.
    same_calibration
        Whether the encoders still have the calibration that it was measured with.
    """

    text: str
    style: float
    pixels: float
    usual_style: float
    same_calibration: bool


@dataclass(frozen=True)
class TextCheck:
    """What is known about a text before it is used.

    Attributes
    ----------
    text, encoder_set
        In normal form; that read it.
    confidence
        The encoders' own estimate that they know the text, 0 to 1; None if they have none.
    nearest
        Known looks, the nearest first.
    ignored
        End of the text that the encoders do not read.
    distance
        1 - cosine of the text with the source text: length of the way.
    usual_distance
        Lowest and median distance of the known looks.
    photo_margin
        Cosine of the photo with the text minus that with the source text: above 0, the photo looks like the text
        already; None without a photo.
    object_probability
        Whether the text is nearer to things than to looks, 0 to 1; see `reads_like_object`.
    seeds
        None if the text was not measured with these encoders.
    """

    text: str
    encoder_set: str
    confidence: float | None
    nearest: tuple[Near, ...]
    ignored: str
    distance: float
    usual_distance: tuple[float, float]
    photo_margin: float | None
    object_probability: float
    seeds: SeedSpread | None

    @property
    def is_known(self) -> bool | None:
        """Whether the encoders know the text; None if they cannot judge that."""
        return None if self.confidence is None else self.confidence >= _FAMILIAR

    @property
    def reads_like_object(self) -> bool:
        """Whether the text reads like a thing; a text that encoders of a limited vocabulary know is a look."""
        return self.object_probability >= _CLEAR and not self.is_known

    @property
    def findings(self) -> tuple[str, ...]:
        """What follows, each a sentence."""
        return tuple(self._findings())

    def _findings(self) -> Iterator[str]:
        if self.confidence is not None:
            known = "know" if self.is_known else "do not know"
            yield f"The encoders {self.encoder_set!r} {known} this text (confidence {self.confidence:.2f})."
        near = ", ".join(f"{name!r} {cosine:.2f}" for name, cosine in self.nearest)
        yield f"The nearest known looks are {near}."
        if self.ignored:
            yield f"The end of the text is not read: {shortened(self.ignored)!r}."
        lowest, usual = self.usual_distance
        if self.distance < lowest:
            yield f"It means nearly what a photo means (distance {self.distance:.2f}): little will change."
        else:
            yield f"Its distance from a photo is {self.distance:.2f}; that of known looks is {usual:.2f} at the median."
        if self.photo_margin is not None and self.photo_margin > 0:
            yield "The photo looks like the text already: little may change."
        if self.reads_like_object:
            yield (
                "It reads like a thing rather than a look: things tend to appear in the picture. "
                "Name a material, a medium or an artist."
            )
        yield self._seed_finding()

    def _seed_finding(self) -> str:
        if self.seeds is None:
            return "How much a seed changes was not measured for this text: try two or three."
        more = "more" if self.seeds.style > self.seeds.usual_style else "less"
        measured = (
            f"Seeds change the style of {self.seeds.text!r} {more} than usual "
            f"({self.seeds.style:.2f}, usual {self.seeds.usual_style:.2f})"
        )
        if self.seeds.same_calibration:
            return f"{measured}."
        return f"{measured}; that was measured with another calibration of the encoders: try two or three."


class Doctor:
    """Checks texts with one encoder set.

    Parameters
    ----------
    encoders
        Any backend.
    results
        Contents of a `results.json` of the laboratory; by default those that come with the package.
    """

    def __init__(self, encoders: InferenceEncoders, results: Mapping[str, Any] | None = None) -> None:
        self._encoders = encoders
        self._results = results

    def check(self, text: str, photo: Picture | None = None) -> TextCheck:
        """Check a text.

        Raises
        ------
        ConfigError
            The text cannot be used at all.
        """
        encoders, calibration = self._encoders, self._encoders.calibration
        style_text, source_text = check_texts(text, calibration.source_text)
        guidance = text_guidance(encoders, style_text, source_text, calibration.template_set)
        source = guidance.style - guidance.direction
        plain = embed_text(encoders, style_text, TemplateSet.PLAIN)
        cosines = self._looks @ plain
        own_source = embed_text(encoders, source_text, TemplateSet.PLAIN)
        distances = 1 - self._looks @ own_source
        confidence = guidance.confidence
        return TextCheck(
            text=style_text,
            encoder_set=encoders.name,
            confidence=confidence.probability if confidence else None,
            nearest=tuple(Near(_NAMES[i], float(cosines[i])) for i in cosines.argsort()[::-1][:_NEAREST]),
            ignored=ignored_part(encoders.tokens, style_text, calibration.template_set),
            distance=1 - float(plain @ own_source),
            usual_distance=(float(distances.min()), float(np.median(distances))),
            photo_margin=self._margin(photo, guidance.style, source) if photo else None,
            object_probability=object_probability(plain, self._anchors, calibration.logit_scale),
            seeds=seed_spread(style_text, self._results or _bundled(), encoders.digest, calibration),
        )

    @cached_property
    def _looks(self) -> Floats:
        return np.stack([embed_text(self._encoders, name, TemplateSet.PLAIN) for name in _NAMES])

    @cached_property
    def _anchors(self) -> tuple[Floats, Floats]:
        looks, objects = (
            np.stack([embed_text(self._encoders, text, TemplateSet.PLAIN) for text in texts])
            for texts in (LOOKS, OBJECTS)
        )
        return looks, objects

    def _margin(self, photo: Picture, style: Floats, source: Floats) -> float:
        view = self._encoders.views(image_of(photo.rgb))
        image = l2_normalize(self._encoders.encode_image(view))[0]
        return float(image @ style - image @ source)


def object_probability(text: Floats, anchors: tuple[Floats, Floats], logit_scale: float) -> float:
    """Compare a text with plain looks and objects: the logistic of the difference of its mean nearest cosines.

    Parameters
    ----------
    text
        Unit embedding, (D,).
    anchors
        Unit embeddings of looks, (N, D), and of objects, (M, D).
    logit_scale
        Of the encoders.
    """
    looks, objects = (float(np.sort(rows @ text)[-_LEADING:].mean()) for rows in anchors)
    return float(1 / (1 + np.exp(-logit_scale * (objects - looks))))


def seed_spread(text: str, results: Mapping[str, Any], digest: str, calibration: Calibration) -> SeedSpread | None:
    """Look a text up in the consistency table of results that were made with the encoders of a digest."""
    if digest not in results.get("digests", ()):
        return None
    if "consistency" not in results["sections"]:
        return None
    rows: Sequence[Mapping[str, Any]] = [
        row for row in results["sections"]["consistency"]["tables"][0]["rows"] if row["seeds"] is not None
    ]
    usual = median([row["style statistics"] for row in rows]) if rows else 0.0
    same = results.get("made with", {}).get("calibration") == described(calibration)
    for row in rows:
        if row["text"].casefold() == text.casefold():
            return SeedSpread(row["text"], row["style statistics"], row["pixels"], usual, same)
    return None


def _bundled() -> Mapping[str, Any]:
    results: Mapping[str, Any] = json.loads(_MEASURED.read_text("utf-8"))
    return results
