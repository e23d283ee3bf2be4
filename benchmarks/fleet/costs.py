"""What a job costs, from the measurements in `benchmarks/results/`, and what has to be assumed where none exist."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipstyler.config import PRESETS, Preset

RESULTS = Path(__file__).parents[1] / "results"
GPU = "NVIDIA H200"


@dataclass(frozen=True)
class Assumptions:
    """What no measurement says. All of it can be changed by flags.

    Attributes
    ----------
    cpu_price, gpu_price, front_price
        Of one device, or one front, for an hour.
    watchers_per_job
        Calls that follow a running job.
    link_bytes_per_s
        That one front's network interface sends.
    front_streams
        Open calls of one front: the default of `max_calls`.
    """

    cpu_price: float = 0.10
    gpu_price: float = 3.00
    front_price: float = 0.20
    watchers_per_job: float = 1.0
    link_bytes_per_s: float = 1.25e9
    front_streams: int = 4096


@dataclass(frozen=True)
class Work:
    """One kind of job on one kind of device.

    Attributes
    ----------
    device
        What it was measured on.
    """

    name: str
    device: str
    steps: int
    step_s: float
    overhead_s: float

    @property
    def seconds(self) -> float:
        """Of a device for one job."""
        return self.overhead_s + self.steps * self.step_s

    @property
    def jobs_per_hour(self) -> float:
        """Of one device that is never idle."""
        return 3600 / self.seconds


@dataclass(frozen=True)
class FrontCosts:
    """What a job costs a front process and the database; `benchmarks.front_costs` measures it.

    Attributes
    ----------
    job_cpu_s, step_cpu_s, event_cpu_s
        Seconds of the front's processor for a job without its steps, for a step, and for an event sent to a watcher.
    writes_per_job
        Rows that are inserted or changed for a job.
    write_s
        Seconds that one of them takes on PostgreSQL while nobody else writes: a front has one thread that writes.
    database_writes_per_s
        Of several fronts together.
    preview_bytes, progress_bytes, result_bytes
        Of one message to a watcher.
    previews_per_step
        By the default policy.
    """

    job_cpu_s: float
    step_cpu_s: float
    event_cpu_s: float
    writes_per_job: float
    write_s: float
    database_writes_per_s: float
    preview_bytes: float
    progress_bytes: float
    result_bytes: float
    previews_per_step: float


def read(name: str) -> Any:
    """Read a file of measurements."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def works() -> list[Work]:
    """Return the kinds of jobs whose seconds were measured."""
    found = []
    prepare = {row["size"]: row["ours_s"] for row in read("start-cpu")["rows"]}
    for (encoders, name), step_s in _fastest_steps().items():
        preset = PRESETS[Preset(name)]
        # The first preview was measured with `pocket`; beside a job of ViT-B/32 it is little.
        found.append(Work(f"{encoders}, {name}", "2 CPU cores", preset.steps, step_s, prepare[preset.size]))
    for row in reversed(read("gpu-h200")["runs"]):
        steps = PRESETS[Preset(row["setting"].rpartition(", ")[2])].steps
        step_s = row["optimize_s"] / row["steps"]
        found.append(Work(row["setting"], GPU, steps, step_s, row["whole_s"] - row["optimize_s"]))
    return found


def _fastest_steps() -> dict[tuple[str, str], float]:
    """Return the seconds of a step by encoders and preset, accelerated where a server would choose it."""
    fastest: dict[tuple[str, str], float] = {}
    for row in read("step-cpu")["rows"]:
        key = (row["encoders"], row["preset"])
        fastest[key] = min(row["ours_s"], fastest.get(key, row["ours_s"]))
    return fastest


def front_costs() -> FrontCosts:
    """Return what was measured of the front process."""
    return FrontCosts(**read("front-costs-cpu")["costs"])


def front_repair_s() -> float:
    """Seconds until a killed server works again: the median of its kills."""
    seconds: float = read("faults-cpu")["faults"]["a_server_killed_at_random_points_loses_no_job"][
        "ready again after, median s"
    ]
    return seconds
