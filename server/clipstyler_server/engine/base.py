"""The engine's interface and its messages: frozen values that travel through a pipe, always by job id."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from clipstyler.config import Calibration, Preset, StylizeConfig
from clipstyler.evaluation.quality import Quality
from clipstyler.events import Losses
from clipstyler.imaging import ImageFormat, Picture


class Model(NamedTuple):
    """A model and the SHA-256 digest of its weights."""

    name: str
    digest: str


@dataclass(frozen=True)
class Encoders:
    """Encoders that a worker has loaded."""

    name: str
    description: str
    models: tuple[Model, ...]
    calibration: Calibration


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker is: its encoders, and what decides the bytes of its results."""

    encoders: tuple[Encoders, ...]
    device: str
    provider: str
    threads: int
    versions: dict[str, str]


@dataclass(frozen=True)
class EncodedImage:
    """An image file in memory, with its digest."""

    data: bytes
    format: ImageFormat
    width: int
    height: int
    sha256: bytes


@dataclass(frozen=True)
class PreviewPolicy:
    """Which previews are made: every so many steps and at the first (0: none), how large, how encoded."""

    every_steps: int
    max_size: int
    format: ImageFormat

    def wants(self, step: int) -> bool:
        """Whether a preview is due after this step."""
        return self.every_steps > 0 and (step == 1 or step % self.every_steps == 0)


# What the front tells a worker.


@dataclass(frozen=True)
class Order:
    """One stylization, complete: nothing is left for the worker to choose."""

    job_id: str
    picture: Picture
    style_text: str
    source_text: str
    encoders: str
    preset: Preset
    config: StylizeConfig
    seed: int
    previews: PreviewPolicy
    result_format: ImageFormat
    timeout_s: float


@dataclass(frozen=True)
class Cancel:
    """Stop this job within one step; nothing happens if it is not there any more."""

    job_id: str


@dataclass(frozen=True)
class Shutdown:
    """End the process now."""


# What a worker tells the front.


@dataclass(frozen=True)
class WorkerReady:
    """The worker takes orders."""

    info: WorkerInfo


@dataclass(frozen=True)
class WorkerUnfit:
    """The worker cannot start, and trying again would not help."""

    problem: str


@dataclass(frozen=True)
class Started:
    """The work on an order begins."""

    job_id: str
    steps: int
    width: int
    height: int
    device: str


@dataclass(frozen=True)
class Progressed:
    """One optimizer update was made; `step_s` is how long it took."""

    job_id: str
    step: int
    steps: int
    losses: Losses
    rejected: float
    elapsed_s: float
    remaining_s: float
    step_s: float


@dataclass(frozen=True)
class Previewed:
    """A preview is ready; `skipped` older ones were dropped before they were encoded."""

    job_id: str
    step: int
    image: EncodedImage
    skipped: int


@dataclass(frozen=True)
class Cautioned:
    """Something worth knowing about the job; the work goes on."""

    job_id: str
    code: str
    message: str


@dataclass(frozen=True)
class Finished:
    """The stylization succeeded."""

    job_id: str
    image: EncodedImage
    models: tuple[Model, ...]
    device: str
    threads: int
    versions: dict[str, str]
    losses: Losses
    prepare_s: float
    optimize_s: float
    encode_s: float
    quality: Quality | None = None


class StopCause(StrEnum):
    """Why a job was stopped before its end."""

    CANCELLED = "cancelled"
    DEADLINE = "deadline"


@dataclass(frozen=True)
class Stopped:
    """The job was stopped; `steps_after_cancel` updates ended after the cancel had arrived."""

    job_id: str
    cause: StopCause
    step: int
    steps_after_cancel: int


class FailureKind(StrEnum):
    """What kind of failure ended a job."""

    INVALID = "invalid"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Broke:
    """The job failed. `field` is set when a value of the request is to blame."""

    job_id: str
    kind: FailureKind
    problem: str
    field: str = ""


@dataclass(frozen=True)
class WorkerLost:
    """The process ended unexpectedly, and whatever it was doing is lost. Said by the supervisor."""

    problem: str


JobEvent = Started | Progressed | Previewed | Cautioned | Finished | Stopped | Broke
EngineEvent = WorkerReady | WorkerLost | JobEvent
Command = Order | Cancel | Shutdown


class WorkerState(StrEnum):
    """State of a worker process."""

    STARTING = "starting"
    READY = "ready"
    CRASHED = "crashed"

    @property
    def in_words(self) -> str:
        """The state as the rest of a sentence about the worker."""
        return "crashed and is being started again" if self is WorkerState.CRASHED else f"is {self.value}"


class Engine(Protocol):
    """Takes orders, one after the other, and reports events by job id."""

    @property
    def state(self) -> WorkerState:
        """State of the process now."""
        ...

    @property
    def info(self) -> WorkerInfo | None:
        """What the worker is; None until it was ready once."""
        ...

    @property
    def restarts(self) -> int:
        """Times it was started again."""
        ...

    def submit(self, order: Order) -> None:
        """Hand over an order; the worker must be ready."""
        ...

    def cancel(self, job_id: str) -> None:
        """Stop a job within one step. Harmless for jobs that are not running."""
        ...
