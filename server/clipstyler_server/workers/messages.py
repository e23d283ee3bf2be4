"""Messages between the front process and its workers: frozen values that travel through a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipstyler_server.spool import MaskFile, PixelFile
from clipstyler_server.workers.engine import EngineEvent, EngineInfo, EngineLost, TaskFailed, TaskStopped


@dataclass(frozen=True)
class Cancel:
    """To a worker: stop this job, also within a step; nothing happens if it is not there."""

    job_id: str


@dataclass(frozen=True)
class PhotoReady:
    """To the optimizer: the photo of a job at the size of its result, or why there is none; the mask if it has one.

    With a `number` from 1 on, it is a further photo that a style is fitted to, at the size of the optimization.
    """

    job_id: str
    photo: PixelFile | str
    mask: MaskFile | None = None
    number: int = 0


@dataclass(frozen=True)
class InContext:
    """To a decoder: a request, and what log lines about it have."""

    request: Any
    log_context: Mapping[str, Any]


@dataclass(frozen=True)
class DeviceMemory:
    """From the optimizer: bytes of its device's memory by kind: used, peak, total."""

    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Shutdown:
    """To a worker: exit now."""


@dataclass(frozen=True)
class WorkerReady:
    """From the optimizer: it takes tasks."""

    info: EngineInfo


@dataclass(frozen=True)
class CannotStart:
    """From a worker: it cannot start; another try may help if the problem `is_transient`."""

    problem: str
    is_transient: bool = False


@dataclass(frozen=True)
class TaskEvent:
    """From the optimizer: something happened to a job, or ended it."""

    job_id: str
    event: EngineEvent | TaskStopped | TaskFailed | EngineLost
