"""What an optimizer process runs, as an interface: the algorithm in production, a script in tests."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clipstyler.acceleration import OFF
from clipstyler.embedding import Embedding, Wait
from clipstyler.events import Optimized, Preparing, Preview, Progress, Rendering, Result, Started, Warning
from clipstyler.imaging import Picture
from clipstyler.original import Original
from clipstyler_server.spool import Spool
from clipstyler_server.workers.engine import EngineInfo, Task

if TYPE_CHECKING:
    from clipstyler_server.workers.optimizer.applications import Apply

Check = Callable[[], None]
LibraryEvent = (
    Started | Preparing | Progress | Preview[Picture] | Optimized[Picture] | Rendering | Warning | Result[Picture]
)


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of an optimizer process.

    Attributes
    ----------
    cache
        Directory of text directions, shared with the evaluator.
    spool
        Where photos come from and results go to.
    direction_bytes
        Memory for text directions.
    accelerations
        See `clipstyler.acceleration.parse`.
    models
        Directory of downloaded weights; empty for the user's cache.
    progress_interval_s
        Least time between two progress events of a run in seconds; 0 reports every step.
    """

    encoder_sets: tuple[str, ...]
    device: str
    threads: int
    nice: int
    cache: Path
    spool: Spool
    direction_bytes: int
    log_level: str
    log_format: str
    accelerations: str = OFF
    models: str = ""
    offline: bool = False
    progress_interval_s: float = 0.0


class Workload(Protocol):
    """Models in memory, and what can be done with them."""

    @property
    def info(self) -> EngineInfo:
        """What this worker is."""
        ...

    def device_memory(self) -> dict[str, int]:
        """Return bytes of the device's memory: in use by all processes, at the peak of this one, in total.

        Empty if the device is the processor, whose memory the system knows.
        """
        ...

    def stylize(
        self, task: Task, original: Original, others: Sequence[Picture], check: Check
    ) -> Iterator[LibraryEvent | Wait]:
        """Run a task: each advance completes at most one step or one tile; the last event is the result.

        In the middle of each step it yields what `share` takes. Several tasks may be between two advances at a time.

        Parameters
        ----------
        task
            What is done.
        original
            The photo at the size of the result.
        others
            Further photos that a style is fitted to.
        check
            Called often while it computes; stops it by an exception, which is raised as it is.
        """
        ...

    def share(self, waiting: Sequence[Embedding]) -> None:
        """Compute together what waits in the middle of the steps of several tasks, as far as that is possible.

        Whatever it leaves, and all if it fails, each task computes alone when it is advanced.
        """
        ...

    def apply(self, order: Apply, check: Check) -> Generator[Rendering, None, Picture]:
        """Apply a style to a photo, on another thread than that of tasks; returns the result.

        Parameters
        ----------
        order
            What is done.
        check
            Called often while it computes; stops it by an exception, which is raised as it is.

        Raises
        ------
        StyleFileError
            A style cannot be used.
        FileNotFoundError
            The file of the photo is gone.
        """
        ...


WorkloadFactory = Callable[[OptimizerOptions], Workload]
