"""What an optimizer process runs, as an interface: the algorithm in production, a script in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clipstyler.acceleration import OFF
from clipstyler.events import Preparing, Preview, Progress, Result, Started, Warning
from clipstyler.imaging import Picture
from clipstyler_server.workers.engine import EngineInfo, Task

Check = Callable[[], None]
LibraryEvent = Started | Preparing | Progress | Preview[Picture] | Warning | Result[Picture]


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of an optimizer process.

    Attributes
    ----------
    cache
        Directory of text directions, shared with the evaluator.
    direction_bytes
        Memory for text directions.
    accelerations
        See `clipstyler.acceleration.parse`.
    models
        Directory of downloaded weights; empty for the user's cache.
    """

    encoder_sets: tuple[str, ...]
    device: str
    threads: int
    nice: int
    cache: Path
    direction_bytes: int
    log_level: str
    log_format: str
    accelerations: str = OFF
    models: str = ""
    offline: bool = False


class Workload(Protocol):
    """Models in memory, and what can be done with them."""

    @property
    def info(self) -> EngineInfo:
        """What this worker is."""
        ...

    def stylize(self, task: Task, check: Check) -> Iterator[LibraryEvent]:
        """Run a task: each advance completes at most one step; the last event is the result.

        `check` is called often while it computes, and stops it by an exception, which is raised as it is.
        """
        ...


WorkloadFactory = Callable[[OptimizerOptions], Workload]
