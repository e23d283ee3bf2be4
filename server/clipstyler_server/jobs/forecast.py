"""How long jobs take, from the step times that were measured."""

from __future__ import annotations

from collections.abc import Iterable

from clipstyler_server.engine.base import Finished, Order
from clipstyler_server.jobs.model import Job

_WEIGHT = 0.1  # of a new step time in the running mean
_JOB_WEIGHT = 0.3  # of a new job
_FIRST_GUESS_S = 10.0  # length of a job before one was measured

_Kind = tuple[str, int, int] | None


class Forecast:
    """Running means, one for each kind of order and one of all: of a step, and of what a job takes around its steps."""

    def __init__(self) -> None:
        self._step_s: dict[_Kind, float] = {}
        self._around_s: dict[_Kind, float] = {}
        self.typical_job_s = _FIRST_GUESS_S

    def note_step(self, order: Order, step_s: float) -> None:
        """Learn from a step."""
        _learn(self._step_s, order, step_s, _WEIGHT)

    def note_job(self, order: Order, finished: Finished) -> None:
        """Learn from a job that succeeded."""
        _learn(self._around_s, order, finished.prepare_s + finished.encode_s, _JOB_WEIGHT)
        took_s = finished.prepare_s + finished.optimize_s + finished.encode_s
        self.typical_job_s += _JOB_WEIGHT * (took_s - self.typical_job_s)

    def seconds(self, order: Order, done: int = 0) -> float | None:
        """Expect so long for what is left of an order; None as long as nothing was measured."""
        kind = _kind(order)
        step_s = self._step_s.get(kind, self._step_s.get(None))
        if step_s is None:
            return None
        around_s = 0.0 if done else self._around_s.get(kind, self._around_s.get(None, 0.0))
        return around_s + step_s * max(0, order.config.steps - done)

    def starts(self, running: Job | None, waiting: Iterable[Job]) -> list[float | None]:
        """Expect each waiting job, and one more behind them, to start in so many seconds; None where it is unknown."""
        clock = self.seconds(running.order, running.step) if running else 0.0
        found = [clock]
        for job in waiting:
            own_s = self.seconds(job.order)
            clock = None if clock is None or own_s is None else clock + own_s
            found.append(clock)
        return found


def _learn(means: dict[_Kind, float], order: Order, measured_s: float, weight: float) -> None:
    for kind in (_kind(order), None):
        known = means.get(kind, measured_s)
        means[kind] = known + weight * (measured_s - known)


def _kind(order: Order) -> tuple[str, int, int]:
    return (order.encoders, order.config.size, order.config.patches)
