"""What the evaluator is told and what it tells: frozen values that travel through a pipe, always by number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipstyler.evaluation.direction_cache import CacheStats, DirectionKey, Origin, key_of
from clipstyler.evaluation.quality import Quality
from clipstyler.imaging import Picture

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EvaluatorOptions:
    """What the evaluator's process is told when it starts.

    Attributes
    ----------
    providers
        In the order asked for, the first must become active; empty: whatever is there.
    on_mismatch
        What happens where an export cannot be used or does not agree with PyTorch.
    cache
        Folder for exports, engines and text directions.
    """

    encoders: tuple[str, ...]
    providers: tuple[str, ...]
    on_mismatch: Literal["pytorch", "refuse"]
    threads: int
    nice: int
    cache: Path
    direction_bytes: int
    batch_wait_s: float
    start_timeout_s: float
    log_level: str
    log_format: str
    models: str = ""
    offline: bool = False


@dataclass(frozen=True)
class EncoderFacts:
    """What some encoders are in this evaluator.

    Attributes
    ----------
    backend, precision
        What executes the arithmetic.
    skipped
        Why what was preferred is not used.
    templates
        Name and version of the templates of their calibration.
    """

    name: str
    digest: str
    dimension: int
    backend: str
    precision: str
    skipped: tuple[str, ...]
    templates: str
    source_text: str

    def direction_key(self, source_text: str, style_text: str) -> DirectionKey:
        """Key of a text direction by these encoders."""
        return key_of(self.digest, self.backend, self.precision, self.templates, source_text, style_text)


@dataclass(frozen=True)
class EvaluatorReady:
    """The evaluator takes tasks."""

    facts: tuple[EncoderFacts, ...]


@dataclass(frozen=True)
class EncodeTexts:
    """Embed texts, each as one sentence. Answer: unit rows, (N, D)."""

    encoders: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class EncodeImages:
    """Embed pictures. Answer: unit rows, (N, D)."""

    encoders: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class FindDirection:
    """Find or compute a text direction. Answer: `DirectionFound`."""

    encoders: str
    style_text: str
    source_text: str


class DirectionFound(NamedTuple):
    """A text direction, where it came from, and how the evaluator's cache is now."""

    direction: Floats
    origin: Origin
    stats: CacheStats


@dataclass(frozen=True)
class Classify:
    """Compare a picture with labels. Answer: pairs of label and probability, the best first."""

    encoders: str
    picture: Picture
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """Measure a stylization; a stylized image as bytes is one that a process of ours encoded. Answer: `Quality`."""

    encoders: str
    content: Picture
    stylized: Picture | bytes
    style_text: str
    source_text: str
    seed: int


Task = EncodeTexts | EncodeImages | FindDirection | Classify | Measure
Value = Floats | DirectionFound | tuple[tuple[str, float], ...] | Quality


@dataclass(frozen=True)
class Request:
    """A task and the number that its answer bears."""

    number: int
    task: Task


@dataclass(frozen=True)
class Answer:
    """A task was carried out."""

    number: int
    value: Value


@dataclass(frozen=True)
class Refusal:
    """A task cannot be carried out as it is: a field is to blame, or else the evaluator (`field` is empty)."""

    number: int
    field: str
    problem: str
