"""What is asked of a fleet: jobs of several classes, by a daily wave and in bursts."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400.0
_SLICE_S = 60.0  # within which the rate is constant


@dataclass(frozen=True)
class JobClass:
    """Jobs of one priority, all of the same work.

    Attributes
    ----------
    priority
        Class in the queue; larger runs first.
    share
        Of all jobs.
    service_s, steps
        Seconds that a device takes for one, and its steps.
    accounts
        Callers that they come from. Some cause more jobs than others: the number `n` has a weight of 1/sqrt(n).
    """

    name: str
    priority: int
    share: float
    service_s: float
    steps: int
    accounts: int


@dataclass(frozen=True)
class Demand:
    """Jobs of a day.

    Attributes
    ----------
    swing
        How far the daily wave rises above its mean and falls below, as a fraction of the mean; the peak is at noon.
    burst_share
        Share of the last class's jobs that comes in bursts: one account creates `burst_jobs` of them at once.
    """

    jobs_per_day: float
    classes: tuple[JobClass, ...]
    swing: float = 0.6
    burst_share: float = 0.3
    burst_jobs: int = 500

    @property
    def service_s(self) -> float:
        """Mean seconds of work of a job."""
        return sum(kind.share * kind.service_s for kind in self.classes)

    @property
    def steps(self) -> float:
        """Mean steps of a job."""
        return sum(kind.share * kind.steps for kind in self.classes)

    def rate(self, at_s: float) -> float:
        """Jobs per second at a time of the day, without bursts."""
        wave = 1 - self.swing * math.cos(2 * math.pi * at_s / DAY_S)
        return self.jobs_per_day / DAY_S * wave


@dataclass(frozen=True)
class Arrival:
    """A job that arrives, of a client of an account."""

    at_s: float
    kind: str
    priority: int
    account: str
    service_s: float
    client: str = ""


def arrivals(demand: Demand, begin_s: float, end_s: float, seed: int) -> Iterator[Arrival]:
    """Draw the arrivals between two times of a day, in order; the same for the same seed."""
    steady, bursts = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    return heapq.merge(
        _steady(demand, begin_s, end_s, steady),
        _bursts(demand, begin_s, end_s, bursts),
        key=lambda arrival: arrival.at_s,
    )


def _steady(demand: Demand, begin_s: float, end_s: float, rng: np.random.Generator) -> Iterator[Arrival]:
    """Draw a Poisson process whose rate follows the wave."""
    classes = demand.classes
    *others, last = (kind.share for kind in classes)
    shares = np.array([*others, last * (1 - demand.burst_share)])
    weights = [_weights(kind.accounts) for kind in classes]
    slice_begin = begin_s
    while slice_begin < end_s:
        length = min(_SLICE_S, end_s - slice_begin)
        count = rng.poisson(demand.rate(slice_begin + length / 2) * length * shares.sum())
        times = np.sort(rng.uniform(slice_begin, slice_begin + length, count))
        numbers = rng.choice(len(classes), count, p=shares / shares.sum())
        places = rng.uniform(size=count)
        for at_s, number, place in zip(times.tolist(), numbers.tolist(), places.tolist(), strict=True):
            kind = classes[number]
            account = int(np.searchsorted(weights[number], place))
            yield Arrival(at_s, kind.name, kind.priority, f"{kind.name} {account}", kind.service_s)
        slice_begin += length


def _bursts(demand: Demand, begin_s: float, end_s: float, rng: np.random.Generator) -> Iterator[Arrival]:
    """Draw bursts at random times, each of an account of its own."""
    kind = demand.classes[-1]
    jobs_per_s = demand.jobs_per_day / DAY_S * kind.share * demand.burst_share
    count = rng.poisson(jobs_per_s * (end_s - begin_s) / demand.burst_jobs)
    for number, at_s in enumerate(np.sort(rng.uniform(begin_s, end_s, count)).tolist()):
        for _ in range(demand.burst_jobs):
            yield Arrival(at_s, kind.name, kind.priority, f"burst {number}", kind.service_s)


def _weights(accounts: int) -> NDArray[np.float64]:
    """Return the cumulative shares of accounts by number."""
    weights: NDArray[np.float64] = np.cumsum(np.arange(1, accounts + 1) ** -0.5)
    return weights / float(weights[-1])
