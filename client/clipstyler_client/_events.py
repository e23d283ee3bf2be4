"""Events of a stylization, as plain frozen objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from clipstyler_client._files import write_whole
from clipstyler_client._options import PreviewOptions, StylizeOptions


class EncoderModel(NamedTuple):
    """A model that took part, and the SHA-256 of its weights in hexadecimal."""

    name: str
    digest: str


class Box(NamedTuple):
    """A rectangle in fractions of the photo's width and height, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class RegionSpec:
    """A region, resolved.

    Attributes
    ----------
    boxes
        Rectangles that belong to it.
    text
        What it should look like; None if it stays as it is.
    feather
        Width of the transition, as a fraction of the longest side.
    mask_digest
        SHA-256 of the mask's file in hexadecimal; "" if there is none.
    """

    boxes: tuple[Box, ...]
    text: str | None
    feather: float
    mask_digest: str


@dataclass(frozen=True)
class Spec:
    """What was asked for, resolved: every default is filled in. `region` is None if there is none."""

    style_text: str
    source_text: str
    options: StylizeOptions
    previews: PreviewOptions
    result_format: str
    region: RegionSpec | None = None


@dataclass(frozen=True)
class Losses:
    """Loss terms of one step, each before its weight, and their weighted sum."""

    total: float
    direction: float
    patch: float
    content: float
    total_variation: float


@dataclass(frozen=True)
class QualityReport:
    """Quality of a stylization; values of different `protocol` cannot be compared.

    Attributes
    ----------
    patch_clip_score
        Mean cosine of the text with random crops: the CLIPstyler paper's score.
    global_similarity, patch_similarity
        Cosine between the directions in which image and text moved: of the whole, and of the crops on average.
    content_distance
        Difference of the content features; 0 means unchanged.
    ssim
        Structural similarity with the photo, at most 1.
    seed, protocol
        Of the crops, and version of these definitions.
    """

    patch_clip_score: float
    global_similarity: float
    patch_similarity: float
    content_distance: float
    ssim: float
    seed: int
    protocol: int


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a stylization.

    Attributes
    ----------
    stylization
        Resource name, `stylizations/{uuid}`; "" for work on this machine.
    sequence
        Number of the event within its stylization, from 1; numbers may skip.
    """

    stylization: str = ""
    sequence: int = 0


@dataclass(frozen=True, kw_only=True)
class Queued(Event):
    """Accepted; `position` jobs are before it."""

    position: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The work begins, on `device`, for a result of `width` x `height` px."""

    steps: int
    width: int
    height: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Preparing(Event):
    """A part of the preparation was completed, from 0. Without measured step times, `remaining_s` is None."""

    part: int
    parts: int
    remaining_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """A step was completed. `rejected` is the share of patches that already match the text."""

    step: int
    steps: int
    losses: Losses
    rejected: float
    elapsed_s: float
    remaining_s: float


@dataclass(frozen=True, kw_only=True)
class Preview(Event):
    """The image after `step` steps, 0 for the start, encoded in `format`."""

    step: int
    image: bytes = field(repr=False)
    format: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Draft(Event):
    """The photo in a style that the server has at hand: something to look at until the first preview.

    Attributes
    ----------
    style, style_text
        Resource name of the style, and the text that it was fitted to.
    similarity
        How near that text is to the one asked for, at most 1; None if the style was named in `previews`.
    image
        The picture, encoded in `format`.
    """

    style: str
    style_text: str
    similarity: float | None
    image: bytes = field(repr=False)
    format: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Rendering(Event):
    """All steps are completed; so many tiles of a result that is larger than `size` are drawn, of so many."""

    tile: int
    tiles: int


@dataclass(frozen=True, kw_only=True)
class Warning(Event):
    """Something worth knowing; the work goes on."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Gap(Event):
    """Events were left out: this reader was slow, or the first ones are no longer stored (`log_expired`)."""

    skipped_progress: int
    skipped_previews: int
    log_expired: bool = False


@dataclass(frozen=True, kw_only=True)
class Heartbeat(Event):
    """Keep-alive during silence."""


@dataclass(frozen=True, kw_only=True)
class Result(Event):
    """The stylized image and everything needed to reproduce it.

    Attributes
    ----------
    image
        The encoded bytes, complete and checked against their digest.
    spec
        What was asked for, resolved.
    device, provider, threads
        What computed: such as "cpu", "torch-cpu" and the number of CPU threads (0 on other devices).
    timings
        Seconds by phase: queued, decode, prepare, optimize, render, encode.
    quality
        Measured at the size of the optimization; None if it could not be measured, which a warning reports.
    steps
        Optimizer steps completed: fewer than `options["steps"]` if the run ended early; 0 if it is not reported.
    stop_reason
        Why there were no more: "steps", "target" or "plateau"; "" if it is not reported.
    style
        Resource name of the style that `styles.fit` has fitted; "" for plain stylizations.
    """

    image: bytes = field(repr=False)
    format: str
    width: int
    height: int
    spec: Spec
    models: tuple[EncoderModel, ...]
    device: str
    provider: str
    threads: int
    versions: dict[str, str]
    losses: Losses
    timings: dict[str, float]
    quality: QualityReport | None = None
    steps: int = 0
    stop_reason: str = ""
    style: str = ""

    @property
    def options(self) -> StylizeOptions:
        """The resolved options."""
        return self.spec.options

    @property
    def seed(self) -> int:
        """The seed that was used."""
        return self.spec.options["seed"]

    def save(self, path: str | Path) -> Path:
        """Write the encoded bytes to a file and return its path."""
        return write_whole(path, self.image)
