"""What an optimizer process runs: the seam between its machinery and the algorithm.

The machinery (orders, cancels, deadlines, previews) is the same for every workload; tests bring a scripted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from clipstyler.events import Losses
from clipstyler.imaging import Picture
from clipstyler_server.engine.base import Model, Order, WorkerInfo


@dataclass(frozen=True)
class OptimizerOptions:
    """What an optimizer process is told when it starts; without `models`, weights are kept in the user's cache."""

    encoders: tuple[str, ...]
    device: str
    threads: int
    nice: int
    log_level: str
    log_format: str
    models: str = ""
    offline: bool = False


@dataclass(frozen=True)
class Step:
    """One optimizer update was made; `picture` copies the image of this step, before the next one."""

    step: int
    steps: int
    losses: Losses
    rejected: float
    elapsed_s: float
    remaining_s: float
    picture: Callable[[], Picture]


@dataclass(frozen=True)
class Notice:
    """Something worth knowing; the work goes on."""

    code: str
    message: str


@dataclass(frozen=True)
class Prepared:
    """Part of the preparation is done: a chance to stop."""


@dataclass(frozen=True)
class Outcome:
    """The end of a stylization that succeeded."""

    picture: Picture
    models: tuple[Model, ...]
    device: str
    threads: int
    versions: dict[str, str]
    losses: Losses
    prepare_s: float
    optimize_s: float


class UnfitError(Exception):
    """The workload cannot start here, and trying again would not help; the message says why."""


class Workload(Protocol):
    """Models in memory, and what can be done with them."""

    @property
    def info(self) -> WorkerInfo:
        """What this worker is."""
        ...

    def stylize(self, order: Order) -> Iterator[Prepared | Notice | Step | Outcome]:
        """Run an order: every advance makes at most one optimizer update; the last item is the outcome."""
        ...


WorkloadFactory = Callable[[OptimizerOptions], Workload]


def torch_workload(options: OptimizerOptions) -> Workload:
    """Load the real algorithm. Call it in the optimizer's process only: it imports PyTorch."""
    from clipstyler_server.engine.torch_workload import TorchWorkload  # noqa: PLC0415

    return TorchWorkload(options)
