"""Estimates of how long jobs take, from measured step times."""

from __future__ import annotations

from collections.abc import Iterable

from clipstyler.events import Timings
from clipstyler.spec import StylizationSpec
from clipstyler_server.jobs.job import Job

_WEIGHT = 0.1  # of a new step time in the running mean
_JOB_WEIGHT = 0.3  # of a new job
_FIRST_GUESS_S = 10.0  # length of a job before one was measured

_Kind = tuple[str, int, int, int] | None


class Estimator:
    """Running means, per kind of job and over all: of a step, and of the time before and after the steps."""

    def __init__(self) -> None:
        self._step_s: dict[_Kind, float] = {}
        self._before_s: dict[_Kind, float] = {}
        self._after_s: dict[_Kind, float] = {}
        self.typical_job_s = _FIRST_GUESS_S

    def add_step(self, spec: StylizationSpec, step_s: float) -> None:
        """Learn from a step."""
        _learn(self._step_s, spec, step_s, _WEIGHT)

    def add_job(self, spec: StylizationSpec, timings: Timings) -> None:
        """Learn from a job that succeeded."""
        after_s = timings.render_s + timings.encode_s
        _learn(self._before_s, spec, timings.prepare_s, _JOB_WEIGHT)
        _learn(self._after_s, spec, after_s, _JOB_WEIGHT)
        whole_s = timings.prepare_s + timings.optimize_s + after_s
        self.typical_job_s += _JOB_WEIGHT * (whole_s - self.typical_job_s)

    def seconds(self, spec: StylizationSpec, completed: int = 0) -> float | None:
        """Estimate the rest of a job after so many steps; None until a step was measured."""
        kind = _kind(spec)
        step_s = self._step_s.get(kind, self._step_s.get(None))
        if step_s is None:
            return None
        before_s = 0.0 if completed else self._before_s.get(kind, self._before_s.get(None, 0.0))
        after_s = self._after_s.get(kind, self._after_s.get(None, 0.0))
        return before_s + step_s * max(0, spec.config.steps - completed) + after_s

    def starts(self, running: Job | None, waiting: Iterable[Job]) -> list[float | None]:
        """Estimate in how many seconds each waiting job, and one more after them, starts; None if unknown."""
        clock = self.seconds(running.spec, running.step) if running else 0.0
        found = [clock]
        for job in waiting:
            own_s = self.seconds(job.spec)
            clock = None if clock is None or own_s is None else clock + own_s
            found.append(clock)
        return found


def _learn(means: dict[_Kind, float], spec: StylizationSpec, measured_s: float, weight: float) -> None:
    for kind in (_kind(spec), None):
        known = means.get(kind, measured_s)
        means[kind] = known + weight * (measured_s - known)


def _kind(spec: StylizationSpec) -> tuple[str, int, int, int]:
    return (spec.encoder_set, spec.config.size, spec.config.patches, spec.config.output_size)
