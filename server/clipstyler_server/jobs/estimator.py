"""Estimates of how long jobs take, from measured step times."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clipstyler.events import Timings
from clipstyler.spec import StylizationSpec
from clipstyler_server.jobs.job import Job

_WEIGHT = 0.1  # of a new step time in the running mean
_JOB_WEIGHT = 0.3  # of a new job
_FIRST_GUESS_S = 10.0  # length of a job before one was measured

_Kind = tuple[str, int, int, int, int] | None


class Expected(NamedTuple):
    """In how many seconds a job starts and ends; None if unknown."""

    start_s: float | None
    end_s: float | None


class Estimator:
    """Running means, per kind of job and over all: of a step, and of the time before and after the steps.

    `together` is the number of jobs that a device has at once: it divides its time among them.
    """

    def __init__(self) -> None:
        self._step_s = _Means(_WEIGHT)
        self._before_s = _Means(_JOB_WEIGHT)
        self._after_s = _Means(_JOB_WEIGHT)
        self.typical_job_s = _FIRST_GUESS_S

    def add_step(self, spec: StylizationSpec, step_s: float, together: int = 1) -> None:
        """Learn from a step."""
        self._step_s.add(spec, together, step_s)

    def add_job(self, spec: StylizationSpec, timings: Timings, together: int = 1) -> None:
        """Learn from a job that succeeded."""
        after_s = timings.render_s + timings.encode_s
        self._before_s.add(spec, together, timings.prepare_s)
        self._after_s.add(spec, together, after_s)
        whole_s = timings.prepare_s + timings.optimize_s + after_s
        self.typical_job_s += _JOB_WEIGHT * (whole_s - self.typical_job_s)

    def seconds(self, spec: StylizationSpec, completed: int = 0, together: int = 1) -> float | None:
        """Estimate the rest of a job after so many steps; None until a step was measured."""
        step_s = self._step_s.find(spec, together)
        if step_s is None:
            return None
        before_s = 0.0 if completed else self._before_s.find(spec, together) or 0.0
        after_s = self._after_s.find(spec, together) or 0.0
        return before_s + step_s * max(0, spec.config.steps - completed) + after_s

    def expect(self, running: Sequence[Job], waiting: Iterable[Job], places: int, together: int = 1) -> list[Expected]:
        """Estimate when each waiting job starts and ends, if they run in this order and so many at a time."""
        free_in_s = [_or_never(self.seconds(job.spec, job.step, together)) for job in running[:places]]
        free_in_s += [0.0] * (places - len(free_in_s))
        heapq.heapify(free_in_s)
        found = []
        for job in waiting:
            start_s = free_in_s[0]
            end_s = start_s + _or_never(self.seconds(job.spec, together=together))
            heapq.heapreplace(free_in_s, end_s)
            found.append(Expected(_or_unknown(start_s), _or_unknown(end_s)))
        return found


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def _or_unknown(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


def _kind(spec: StylizationSpec) -> tuple[str, int, int, int, int]:
    config = spec.config
    return (spec.encoder_set, config.size, config.patches, config.output_size, len(spec.texts))


class _Means:
    """Running means of a time, per kind of job and over all, by how many jobs a device had at once.

    Parameters
    ----------
    weight
        Of a new time.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._means: dict[_Kind, dict[int, float]] = {}

    def add(self, spec: StylizationSpec, together: int, measured_s: float) -> None:
        """Learn from a time."""
        for kind in (_kind(spec), None):
            means = self._means.setdefault(kind, {})
            known = means.get(together, measured_s)
            means[together] = known + self._weight * (measured_s - known)

    def find(self, spec: StylizationSpec, together: int) -> float | None:
        """Return the mean, else that of the nearest number of jobs in proportion; None if none was measured."""
        means = self._means.get(_kind(spec)) or self._means.get(None)
        if means is None:
            return None
        nearest = min(means, key=lambda known: abs(known - together))
        return means[nearest] * together / nearest
