"""What a stylization tells while it works, in this order: cautions, the warm-up, every step, and the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipstyler.config import StylizeConfig
    from clipstyler.encoders.base import Model
    from clipstyler.imaging import Picture


@dataclass(frozen=True)
class Losses:
    """Loss terms of one step, each before its weight (0 where switched off), and their weighted sum."""

    total: float
    direction: float
    patch: float
    content: float
    total_variation: float


@dataclass(frozen=True)
class Progress:
    """One optimizer update was made.

    Attributes
    ----------
    step, steps
        Updates made so far, from 1, and in all.
    losses
        Of this step, before its update.
    rejected
        Share of patches at or below the threshold, 0 to 1.
    elapsed_s, remaining_s
        Seconds since the optimization began, and expected to its end.
    picture
        Gives the image that the losses saw; call it before the next step.
    """

    step: int
    steps: int
    losses: Losses
    rejected: float
    elapsed_s: float
    remaining_s: float
    picture: Callable[[], Picture]


@dataclass(frozen=True)
class Caution:
    """Worth knowing; the work goes on. The code is for programs, in UPPER_SNAKE, the message for people."""

    code: str
    message: str


@dataclass(frozen=True)
class WarmUp:
    """One update of the warm-up was made, of so many: a chance to stop."""

    step: int
    steps: int


@dataclass(frozen=True)
class Timings:
    """Seconds spent on encoding texts and photo, and on all updates with the last forward pass."""

    prepare_s: float
    optimize_s: float


@dataclass(frozen=True)
class Result:
    """The stylized picture and everything needed to repeat it."""

    picture: Picture
    seed: int
    style_text: str
    source_text: str
    config: StylizeConfig
    encoders: str
    models: tuple[Model, ...]
    device: str
    threads: int
    versions: dict[str, str]
    losses: Losses
    timings: Timings
