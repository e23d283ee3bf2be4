"""Events of a stylization, from the library through the server's pipe to the codec: one type per fact.

The order is: started, preparing (repeatedly), a preview of the start, progress and previews, optimized, rendering
(repeatedly, if the result is larger), result; warnings may come at any time. An image in an event is a `Picture` in the
library, an `EncodedImage` once a server encoded a preview, and an `ImageFile` once it encoded a result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from clipstyler.encoders.description import EncoderModel
from clipstyler.evaluation.quality import QualityReport
from clipstyler.spec import StylizationSpec

ImageT = TypeVar("ImageT")


class StopReason(StrEnum):
    """Why the optimization ended."""

    STEPS = "steps"  # all steps were completed
    TARGET = "target"  # the patch loss reached `stop_patch_loss`
    PLATEAU = "plateau"  # the loss did not fall for `stop_patience` steps


@dataclass(frozen=True)
class Losses:
    """Loss terms of one step, each before its weight (0 if switched off), and their weighted sum."""

    total: float
    direction: float
    patch: float
    content: float
    total_variation: float


@dataclass(frozen=True)
class Started:
    """The work begins: so many steps, for a result of this size in pixels, on this device."""

    steps: int
    width: int
    height: int
    device: str


@dataclass(frozen=True)
class Preparing:
    """So many parts of the preparation were completed, from 0, of so many. A consumer may stop here.

    `remaining_s` is the expected time to the end of the job, which a server knows from earlier ones.
    """

    step: int
    steps: int
    remaining_s: float | None = None


@dataclass(frozen=True)
class Progress:
    """One optimizer step was completed.

    Attributes
    ----------
    step, steps
        Steps completed, from 1, and in total.
    losses
        Of this step, before its update.
    rejected
        Share of patches at or below the threshold, 0 to 1.
    elapsed_s, remaining_s
        Seconds since the first step began, and expected to the end of the last one.
    step_s
        Seconds that this step took.
    """

    step: int
    steps: int
    losses: Losses
    rejected: float
    elapsed_s: float
    remaining_s: float
    step_s: float


@dataclass(frozen=True)
class Preview(Generic[ImageT]):
    """The image that the losses of a step saw, or before the first one (step 0) the start picture.

    `skipped` earlier previews were dropped before they were encoded.
    """

    step: int
    image: ImageT
    skipped: int = 0


@dataclass(frozen=True)
class Optimized(Generic[ImageT]):
    """All steps were completed: the stylized image at the size of the optimization, which quality is measured on."""

    image: ImageT


@dataclass(frozen=True)
class Rendering:
    """So many tiles of the result were completed, from 0, of so many. A consumer may stop here."""

    tile: int
    tiles: int


@dataclass(frozen=True)
class Warning:
    """Something worth knowing; the work goes on.

    Attributes
    ----------
    code
        For programs, in UPPER_SNAKE_CASE.
    message
        For people.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Timings:
    """Seconds spent in each phase; the library measures `prepare_s`, `optimize_s` and `render_s`."""

    queued_s: float = 0.0
    decode_s: float = 0.0
    prepare_s: float = 0.0
    optimize_s: float = 0.0
    render_s: float = 0.0
    encode_s: float = 0.0


@dataclass(frozen=True)
class Result(Generic[ImageT]):
    """The stylized image and everything needed to reproduce it.

    Attributes
    ----------
    image
        The stylized image.
    spec
        What was asked for, resolved.
    models
        Models that took part, with their digests.
    device, provider, threads
        What computed: such as "cpu", "torch-cpu" and the number of CPU threads (0 on other devices).
    versions
        Of the libraries that determine the bytes, by name.
    losses
        Of the last step.
    timings
        Seconds by phase.
    quality
        None if it was not measured.
    steps
        Steps completed; 0 in results that were stored before this was recorded.
    stop_reason
        Why there were no more.
    style
        File of the style, if `keep_style` asks for it; else empty.
    style_digest
        SHA-256 of that file in hexadecimal, once a server has made a style of it that others can use; else empty.
    """

    image: ImageT
    spec: StylizationSpec
    models: tuple[EncoderModel, ...]
    device: str
    provider: str
    threads: int
    versions: dict[str, str] = field(repr=False)
    losses: Losses
    timings: Timings
    quality: QualityReport | None = None
    steps: int = 0
    stop_reason: StopReason = StopReason.STEPS
    style: bytes = field(default=b"", repr=False)
    style_digest: str = ""
