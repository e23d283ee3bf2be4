"""What computes stylizations: encoders, devices, threads and accelerations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from clipstyler.acceleration import AUTO, parse
from clipstyler.encoders.registry import BUNDLED
from clipstyler_server.devices import ANY, Device, parse_devices
from clipstyler_server.settings.units import Separated

MAX_RUNS_PER_DEVICE = 16


class Optimizing(BaseModel):
    """Encoders and optimizers."""

    encoder_sets: Separated[str] = Field(
        default=(BUNDLED,),
        min_length=1,
        description="Encoder sets to load, separated by commas; the first is the default.",
    )
    models: str = Field(
        default="", description="Directory of downloaded weights; empty: the user's cache. `clipstyler models` uses it."
    )
    offline: bool = Field(
        default=False, description="Never download weights; `clipstyler models pull` does it ahead of time."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Device of the optimizer; auto uses CUDA if available.",
    )
    devices: str = Field(
        default="",
        description="Devices of several optimizers, instead of `device`, separated by commas: cuda:0,cuda:1, or cuda*2 "
        "for the first two GPUs, or cpu*2 for two optimizers on the processor.",
    )
    runs_per_device: int = Field(
        default=1,
        ge=1,
        le=MAX_RUNS_PER_DEVICE,
        description="Maximum number of jobs that an optimizer runs at once, a step of each in turn. They share steps, "
        "so that the rounding of a result depends on the other jobs, unless accelerations are off.",
    )
    engine: Literal["local", "ray"] = Field(
        default="local", description="Where optimizers run: processes of this machine, or actors of a Ray cluster."
    )
    ray_address: str = Field(
        default="auto",
        min_length=1,
        description="Address of the Ray cluster, HOST:PORT of its head; auto: the one that this machine belongs to.",
    )
    ray_lease_s: float = Field(
        default=10,
        ge=0.5,
        le=600,
        description="Seconds after which the jobs of a Ray cluster stop if this server is not heard of.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads of a CPU optimizer; 0: the available CPUs, shared by all optimizers, and with Ray 1.",
    )
    accelerations: str = Field(
        default=AUTO,
        description="Accelerations of an optimizer: auto (those that a measurement at the start finds faster), "
        "off, or names separated by commas: memory, bf16, channels_last of a CPU, "
        "graphs, tf32, channels_last, bf16, kernels of a GPU.",
    )
    progress_interval_s: float = Field(
        default=0.02,
        ge=0,
        le=10,
        description="Minimum time in seconds between two progress events of a job, apart from those of previews and of "
        "the last step; 0 reports every step.",
    )
    nice: int = Field(default=5, ge=0, le=19, description="Niceness of the optimizer process.")

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, value: str) -> str:
        if value:
            parse_devices(value)
        return value

    @field_validator("accelerations")
    @classmethod
    def _check_accelerations(cls, value: str) -> str:
        parse(value)
        return value

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        problems = []
        if self.engine == "ray" and self.optimizer_devices[0].device == ANY:
            problems.append("the engine ray needs `devices`: cuda*8 for eight GPUs of the cluster, or cpu*4")
        if self.engine == "ray" and self.runs_per_device > 1:
            problems.append("the engine ray runs one job per device: leave `runs_per_device` at 1")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def optimizer_threads(self) -> int:
        """Threads of a CPU optimizer, explicit: several optimizers divide the CPUs of this machine among them."""
        if self.engine == "ray":
            return self.threads or 1
        return self.threads or max(1, _available_cpus() // len(self.optimizer_devices))

    @property
    def optimizer_devices(self) -> tuple[Device, ...]:
        """The device of each optimizer."""
        return parse_devices(self.devices or self.device)


def _available_cpus() -> int:
    """Count the CPUs that this process may use, by its affinity and its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.is_file():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return count
