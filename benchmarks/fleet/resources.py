"""How busy each resource of a fleet is at a load, and at which one it is used up."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.fleet.costs import Assumptions, FrontCosts
from benchmarks.fleet.demand import DAY_S, Demand
from benchmarks.fleet.simulation import Fleet


@dataclass(frozen=True)
class Load:
    """A fleet at one moment: jobs per second, jobs that run, and steps per second of all of them."""

    jobs_per_s: float
    running: float
    steps_per_s: float


@dataclass(frozen=True)
class Usage:
    """A resource at a load.

    Attributes
    ----------
    used
        Fraction of it that is used; above 1 it cannot be.
    jobs_per_day
        At which it would be used up, if the day had the same shape.
    """

    resource: str
    used: float
    jobs_per_day: float


def peak_load(demand: Demand) -> Load:
    """Return the load at the peak of the daily wave, without bursts."""
    jobs_per_s = demand.rate(DAY_S / 2)
    return Load(jobs_per_s, jobs_per_s * demand.service_s, jobs_per_s * demand.steps)


def usage(load: Load, fleet: Fleet, costs: FrontCosts, assumed: Assumptions, jobs_per_day: float) -> list[Usage]:
    """Return every resource, the one that is used up first at the top."""
    writes_per_s = load.jobs_per_s * costs.writes_per_job
    used = {
        "devices": load.running / fleet.devices,
        "database writes": writes_per_s / costs.database_writes_per_s,
        "front writers": writes_per_s * costs.write_s / fleet.fronts,
        "front processors": _front_cpu(load, costs, assumed) / fleet.fronts,
        "front network": _sent_bytes(load, costs, assumed) / fleet.fronts / assumed.link_bytes_per_s,
        "open calls": load.running * assumed.watchers_per_job / fleet.fronts / assumed.front_streams,
    }
    rows = [Usage(resource, share, jobs_per_day / share) for resource, share in used.items()]
    return sorted(rows, key=lambda row: row.jobs_per_day)


def _front_cpu(load: Load, costs: FrontCosts, assumed: Assumptions) -> float:
    """Seconds of processors that all fronts together need per second."""
    events_per_s = load.steps_per_s * (1 + costs.previews_per_step) * assumed.watchers_per_job
    work = load.jobs_per_s * costs.job_cpu_s + load.steps_per_s * costs.step_cpu_s
    return work + events_per_s * costs.event_cpu_s


def _sent_bytes(load: Load, costs: FrontCosts, assumed: Assumptions) -> float:
    """Bytes per second that all fronts together send to watchers."""
    per_step = costs.progress_bytes + costs.previews_per_step * costs.preview_bytes
    return assumed.watchers_per_job * (load.steps_per_s * per_step + load.jobs_per_s * costs.result_bytes)
