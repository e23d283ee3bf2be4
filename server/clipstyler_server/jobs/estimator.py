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

    def expect(self, running: Sequence[Job], waiting: Iterable[Job], devices: int) -> list[Expected]:
        """Estimate when each waiting job starts and ends, if they run in this order on so many devices."""
        free_in_s = [_or_never(self.seconds(job.spec, job.step)) for job in running[:devices]]
        free_in_s += [0.0] * (devices - len(free_in_s))
        heapq.heapify(free_in_s)
        found = []
        for job in waiting:
            start_s = free_in_s[0]
            end_s = start_s + _or_never(self.seconds(job.spec))
            heapq.heapreplace(free_in_s, end_s)
            found.append(Expected(_or_unknown(start_s), _or_unknown(end_s)))
        return found


def _or_never(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def _or_unknown(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


def _learn(means: dict[_Kind, float], spec: StylizationSpec, measured_s: float, weight: float) -> None:
    for kind in (_kind(spec), None):
        known = means.get(kind, measured_s)
        means[kind] = known + weight * (measured_s - known)


def _kind(spec: StylizationSpec) -> tuple[str, int, int, int, int]:
    config = spec.config
    return (spec.encoder_set, config.size, config.patches, config.output_size, len(spec.texts))
