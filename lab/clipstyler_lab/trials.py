"""What the experiments ask for (`Trial`), what comes back (`Outcome`), and the work of a run (`Work`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from clipstyler.evaluation.quality import QualityReport


class Method(StrEnum):
    """What turns a photo and a text into a picture; `clipstyler_lab.methods` implements them."""

    CLIPSTYLER = "clipstyler"
    ONE_STYLE = "style of the first photo, applied"
    GLOBAL_LOSS = "StyleNet, global loss only"
    PIXELS = "pixels, global loss only"
    COLORS = "colors, global loss only"
    GATYS = "Gatys, style image"
    ADAIN = "AdaIN statistics, style image"
    RETRIEVED_GATYS = "retrieve + Gatys"
    RETRIEVED_ADAIN = "retrieve + AdaIN statistics"


@dataclass(frozen=True)
class Trial:
    """One picture to be made.

    Attributes
    ----------
    method
        How.
    photo
        Name of one of the run's photos.
    text
        What it should look like.
    seed
        Of the stylization; methods that draw nothing at random ignore it.
    options
        Of the stylization, by the names of `clipstyler.spec.OPTIONS`, where they differ from the run's.
    """

    method: Method
    photo: str
    text: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a trial gave.

    Attributes
    ----------
    picture
        File of the picture.
    seconds
        That it took, without loading and measuring.
    quality
        The library's report.
    texture, over_stylization
        See `clipstyler_lab.measures`.
    rejected
        Mean share of rejected patches over the steps; None for methods without patches.
    note
        What else is worth knowing, such as the retrieved style image.
    """

    picture: Path
    seconds: float
    quality: QualityReport
    texture: float
    over_stylization: float
    rejected: float | None = None
    note: str = ""


class Work(NamedTuple):
    """The amount of work of a stylization."""

    size: int
    steps: int
    patches: int
