"""Messages between the front process and the evaluator: frozen values that travel through a pipe, by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipstyler.evaluation.direction_cache import CacheStats, DirectionKey, Origin, key_of
from clipstyler.evaluation.quality import QualityReport
from clipstyler.evaluation.text_directions import TextGuidance
from clipstyler.evaluation.zero_shot import Prediction
from clipstyler.imaging import Picture
from clipstyler.options import Violation

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EvaluatorOptions:
    """Options of the evaluator process.

    Attributes
    ----------
    providers
        In order of preference, the first must become active; empty for any.
    on_mismatch
        What happens if an export cannot be used or does not agree with PyTorch.
    cache
        Directory of exports, engines and text directions.
    proven
        Exports by encoder set that agreed with PyTorch in an earlier process of this server, so that this one starts
        sooner.
    """

    encoder_sets: tuple[str, ...]
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
    proven: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderFacts:
    """What an encoder set is in this evaluator.

    Attributes
    ----------
    dimension, image_size
        Length of an embedding; side of a view in pixels.
    backend, precision
        Execution backend, and "fp32" or "fp16".
    skipped
        Why preferred backends are not used.
    runtime
        The backend with everything else that determines the bits of an embedding.
    templates
        Name and version of the prompt templates.
    """

    name: str
    digest: str
    dimension: int
    image_size: int
    backend: str
    runtime: str
    precision: str
    skipped: tuple[str, ...]
    templates: str
    source_text: str

    def direction_key(self, source_text: str, style_text: str) -> DirectionKey:
        """Return the key of a text direction by these encoders."""
        return key_of(self.digest, self.runtime, self.precision, self.templates, source_text, style_text)


@dataclass(frozen=True)
class EvaluatorReady:
    """The evaluator takes tasks.

    Attributes
    ----------
    proven
        Exports that agree with PyTorch, by encoder set.
    """

    facts: tuple[EncoderFacts, ...]
    proven: Mapping[str, str]


@dataclass(frozen=True)
class EncodeTexts:
    """Embed texts, each as one sentence. Answer: unit rows, (N, D)."""

    encoder_set: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class EncodeImages:
    """Embed views, float32 (1, 3, side, side) each. Answer: unit rows, (N, D)."""

    encoder_set: str
    views: tuple[Floats, ...]


@dataclass(frozen=True)
class FindDirection:
    """Find or compute a text direction. Answer: `DirectionFound`."""

    encoder_set: str
    style_text: str
    source_text: str


class DirectionFound(NamedTuple):
    """A text direction, its origin, and the state of the evaluator's cache."""

    guidance: TextGuidance
    origin: Origin
    stats: CacheStats


@dataclass(frozen=True)
class Classify:
    """Rank labels for a view. Answer: predictions, the most probable first."""

    encoder_set: str
    view: Floats
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """Measure a stylization. Answer: `QualityReport`.

    Attributes
    ----------
    strict
        Whether texts are refused of which the encoders read only the beginning.
    """

    encoder_set: str
    content: Picture
    stylized: Picture
    style_text: str
    source_text: str
    seed: int
    strict: bool


Task = EncodeTexts | EncodeImages | FindDirection | Classify | Measure
Value = Floats | DirectionFound | tuple[Prediction, ...] | QualityReport


@dataclass(frozen=True)
class Request:
    """A task, the number of its answer, and what log lines about it have."""

    number: int
    task: Task
    log_context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """The value of a task."""

    number: int
    value: Value


@dataclass(frozen=True)
class Refusal:
    """A task failed: because of fields, or because of the evaluator (`violations` is empty)."""

    number: int
    violations: tuple[Violation, ...]
