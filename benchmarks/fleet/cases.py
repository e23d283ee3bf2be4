"""The fleets that are simulated, and the figures of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.fleet.costs import GPU, Assumptions, FrontCosts, Work, front_repair_s
from benchmarks.fleet.demand import DAY_S, Demand, JobClass, arrivals
from benchmarks.fleet.resources import Usage, peak_load, usage
from benchmarks.fleet.simulation import Fleet, Outcome, simulate

HOUR_S = 3600.0
FAILING = "CPU, a queue per front, failing"
_MTBF_S = 1000 * HOUR_S  # assumed, of a device and of a front


@dataclass(frozen=True)
class Case:
    """A fleet, what is asked of it between two times of a day, and the price of a device for an hour."""

    name: str
    fleet: Fleet
    demand: Demand
    device_price: float
    begin_s: float = 0.0
    end_s: float = DAY_S


@dataclass(frozen=True)
class ClassWaits:
    """Seconds that the jobs of a class waited."""

    kind: str
    jobs: int
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True)
class HourWaits:
    """The 95th percentile of the wait of the jobs of a class that arrived in an hour of the day."""

    kind: str
    hour: int
    p95_s: float


@dataclass(frozen=True)
class Figures:
    """What a case came to.

    Attributes
    ----------
    mean_used, peak_used
        Share of the devices that worked, on average and in the busiest minute.
    cost_per_image
        Of devices and fronts for a day, by the images of that day.
    """

    name: str
    devices: int
    fronts: int
    one_queue: bool
    jobs_per_day: float
    arrived: int
    succeeded: int
    rejected: int
    failed: int
    expired: int
    resumed: int
    mean_used: float
    peak_used: float
    cost_per_image: float
    waits: list[ClassWaits]
    hours: list[HourWaits]
    usage: list[Usage]


def standard_cases(works: list[Work], assumed: Assumptions, jobs_per_day: float, devices: int) -> Iterator[Case]:
    """Return a fleet of processors for a day, with one queue, and with many failures; then one of GPUs."""
    by_name = {(work.name, work.device): work for work in works}
    draft, paper = by_name["pocket, draft", "2 CPU cores"], by_name["pocket, paper", "2 CPU cores"]
    fleet = _with_faults(Fleet(devices=devices, fronts=max(1, devices // 50), capacity=2000))
    demand = Demand(jobs_per_day, classes(draft, draft, paper))
    yield Case("CPU, a queue per front", fleet, demand, assumed.cpu_price)
    # Two hours of the peak: the turns of one queue for all callers take long to compute.
    shared = replace(fleet, one_queue=True, capacity=10_000)
    yield Case("CPU, one queue", shared, demand, assumed.cpu_price, DAY_S / 2 - HOUR_S, DAY_S / 2 + HOUR_S)
    hour = (DAY_S / 2 - HOUR_S / 2, DAY_S / 2 + HOUR_S / 2)
    failing = replace(fleet, device_mtbf_s=50 * HOUR_S, front_mtbf_s=2 * HOUR_S)
    yield Case(FAILING, failing, demand, assumed.cpu_price, *hour)
    gpu = by_name["vit-b-32, paper", GPU]
    # As many jobs as keep as many GPUs as busy, for ten minutes of the peak.
    scale = demand.service_s / gpu.seconds
    faster = Demand(jobs_per_day * scale, classes(gpu, gpu, gpu))
    yield Case("GPU, a queue per front", fleet, faster, assumed.gpu_price, DAY_S / 2 - 300, DAY_S / 2 + 300)


def classes(high: Work, normal: Work, low: Work) -> tuple[JobClass, ...]:
    """Return three classes: people who wait, programs, and batches of few accounts."""
    return (
        JobClass("high", 3, 0.3, high.seconds, high.steps, 100_000),
        JobClass("normal", 2, 0.3, normal.seconds, normal.steps, 10_000),
        JobClass("low", 1, 0.4, low.seconds, low.steps, 1000),
    )


def _with_faults(fleet: Fleet) -> Fleet:
    return replace(fleet, device_mtbf_s=_MTBF_S, front_mtbf_s=_MTBF_S, front_repair_s=front_repair_s())


def run(case: Case, costs: FrontCosts, assumed: Assumptions, seed: int) -> Figures:
    """Simulate a case."""
    arriving = arrivals(case.demand, case.begin_s, case.end_s, seed)
    outcome = simulate(case.fleet, arriving, seed, case.begin_s)
    fleet, jobs_per_day = case.fleet, case.demand.jobs_per_day
    running = np.array([sample.running for sample in outcome.samples]) / fleet.devices
    per_hour = fleet.devices * case.device_price + fleet.fronts * assumed.front_price
    return Figures(
        name=case.name,
        devices=fleet.devices,
        fronts=fleet.fronts,
        one_queue=fleet.one_queue,
        jobs_per_day=jobs_per_day,
        arrived=outcome.arrived,
        succeeded=outcome.succeeded,
        rejected=outcome.rejected,
        failed=outcome.failed,
        expired=outcome.expired,
        resumed=outcome.resumed,
        mean_used=float(running.mean()),
        peak_used=float(running.max()),
        cost_per_image=24 * per_hour / (jobs_per_day * outcome.succeeded / outcome.arrived),
        waits=[
            _class_waits(kind.name, np.array(outcome.waits[kind.name]))
            for kind in case.demand.classes
            if outcome.waits[kind.name]
        ],
        hours=list(_hour_waits(outcome)),
        usage=usage(peak_load(case.demand), fleet, costs, assumed, jobs_per_day),
    )


def p95_at_loads(case: Case, loads: list[float], seed: int) -> dict[float, dict[str, float]]:
    """Return the 95th percentile of the wait by class, in half an hour of the peak, with fewer and fewer devices.

    Parameters
    ----------
    case
        Whose number of devices does not count.
    loads
        Shares of the devices that are busy on average then.
    """
    found = {}
    begin_s, end_s = DAY_S / 2 - HOUR_S / 4, DAY_S / 2 + HOUR_S / 4
    work = peak_load(case.demand).running
    for load in loads:
        fleet = replace(case.fleet, devices=round(work / load))
        outcome = simulate(fleet, arrivals(case.demand, begin_s, end_s, seed), seed, begin_s)
        found[load] = {
            kind: float(np.percentile([wait for _, wait in waits], 95)) for kind, waits in outcome.waits.items()
        }
    return found


def _class_waits(kind: str, waits: NDArray[np.float64]) -> ClassWaits:
    p50_s, p95_s, p99_s = np.percentile(waits[:, 1], [50, 95, 99]).tolist()
    return ClassWaits(kind, len(waits), p50_s, p95_s, p99_s)


def _hour_waits(outcome: Outcome) -> Iterator[HourWaits]:
    for kind, found in sorted(outcome.waits.items()):
        waits = np.array(found)
        hours = (waits[:, 0] // HOUR_S).astype(int)
        for hour in np.unique(hours).tolist():
            yield HourWaits(kind, hour, float(np.percentile(waits[hours == hour, 1], 95)))
