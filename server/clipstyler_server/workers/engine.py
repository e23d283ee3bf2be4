"""The engine: an interface that runs tasks and streams their events, whatever devices compute behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from clipstyler.encoders.description import EncoderDescription
from clipstyler.events import Optimized, Preparing, Preview, Progress, Rendering, Result, Started, Warning
from clipstyler.imaging import EncodedImage, ImageFile, Picture
from clipstyler.masking import Levels
from clipstyler.options import Violation
from clipstyler.spec import StylizationSpec

EngineEvent = (
    Started
    | Preparing
    | Progress
    | Preview[EncodedImage]
    | Optimized[Picture]
    | Rendering
    | Warning
    | Result[ImageFile]
)


@dataclass(frozen=True)
class Task:
    """One stylization, complete: nothing is left for a worker to decide.

    Attributes
    ----------
    picture
        The photo at the size of the optimization.
    result_size
        Width and height of the result in pixels.
    log_context
        What log lines about it have.
    mask
        Light of the region's mask at the size of the picture; None if it has none.
    other_photos
        Number of further photos that a style is fitted to; they are provided at the size of the optimization.
    """

    job_id: str
    spec: StylizationSpec
    picture: Picture
    timeout_s: float
    result_size: tuple[int, int]
    log_context: Mapping[str, Any] = field(default_factory=dict)
    mask: Levels | None = None
    other_photos: int = 0

    @property
    def needs_original(self) -> bool:
        """Whether photo and mask are needed at the size of the result: it is larger, or has a region and differs."""
        own = (self.picture.width, self.picture.height)
        return max(self.result_size) > max(own) or (self.spec.region is not None and self.result_size != own)


@dataclass(frozen=True)
class EngineInfo:
    """What an engine is: its encoder sets, what determines the bytes of its results, and the accelerations in use."""

    encoder_sets: tuple[EncoderDescription, ...]
    device: str
    provider: str
    threads: int
    versions: dict[str, str]
    accelerations: tuple[str, ...] = ()
    host: str = ""


class WorkerState(StrEnum):
    """State of a worker process."""

    STARTING = "starting"
    READY = "ready"
    CRASHED = "crashed"

    @property
    def in_words(self) -> str:
        """The state as the rest of a sentence about the worker."""
        return "crashed and is being restarted" if self is WorkerState.CRASHED else f"is {self.value}"


@dataclass(frozen=True)
class DeviceStatus:
    """How a device is at a moment.

    Attributes
    ----------
    name
        Among the devices of the server.
    info
        What its engine is; None until it was ready once.
    restarts
        Times that its process was restarted.
    running
        Number of tasks that it runs.
    """

    name: str
    state: WorkerState
    info: EngineInfo | None
    restarts: int
    running: int

    @property
    def is_busy(self) -> bool:
        """Whether it runs a task."""
        return self.running > 0


class StopCause(StrEnum):
    """Why a task was stopped before its end."""

    CANCELLED = "cancelled"
    DEADLINE = "deadline"


class FailureKind(StrEnum):
    """The kind of failure that ended a task."""

    INVALID = "invalid"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    STORAGE_FULL = "storage_full"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    INTERNAL = "internal"


class TaskStopped(Exception):
    """The task was stopped after so many steps, `steps_after_cancel` of which ended after the cancellation arrived."""

    def __init__(self, cause: StopCause, step: int, steps_after_cancel: int = 0) -> None:
        super().__init__(cause, step, steps_after_cancel)
        self.cause = cause
        self.step = step
        self.steps_after_cancel = steps_after_cancel


class TaskFailed(Exception):
    """The task failed; `violations` names the fields of the spec that are the cause."""

    def __init__(self, kind: FailureKind, problem: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(kind, problem, violations)
        self.kind = kind
        self.problem = problem
        self.violations = violations


class EngineLost(Exception):
    """The process exited unexpectedly, and with it the task.

    `again` says that the task is not to blame, since a machine or a connection was lost: it may run once more.
    """

    def __init__(self, problem: str, again: bool = False) -> None:
        super().__init__(problem, again)
        self.problem = problem
        self.again = again


class StartupError(Exception):
    """A worker cannot start; the message says why. Another try helps if `startup.is_transient`."""


class Devices(Protocol):
    """The devices behind an engine.

    Attributes
    ----------
    runs_per_device
        Number of tasks that each runs at a time, at most.
    """

    runs_per_device: int

    @property
    def state(self) -> WorkerState:
        """READY if one device is; otherwise how they are."""
        ...

    @property
    def info(self) -> EngineInfo | None:
        """What the engine is, by the first device that was ready once; None until then."""
        ...

    @property
    def ready_count(self) -> int:
        """Number of devices that are ready, whether or not they run a task."""
        ...

    @property
    def places(self) -> int:
        """Number of tasks that the devices which are ready run at a time, at most."""
        ...

    def statuses(self) -> Sequence[DeviceStatus]:
        """Return how each device is."""
        ...


class Engine(Protocol):
    """Runs as many tasks at a time as the devices that are ready have places."""

    def run(self, task: Task) -> AsyncGenerator[EngineEvent, Any]:
        """Run a task and stream its events, the result last. Closing the stream early cancels the task.

        Raises
        ------
        TaskStopped, TaskFailed, EngineLost
            The task ended without a result. EngineLost also if no device has a free place.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """Stop a task soon, also within a step. Harmless if it is not running."""
        ...
