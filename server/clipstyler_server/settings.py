"""Settings of the server, read once from the environment (`CLIPSTYLER_...`) or given as keywords."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clipstyler.encoders.registry import BUNDLED
from clipstyler.imaging import Limits
from clipstyler.prompts import MAX_CHARACTERS

MIB = 2**20
# No message that the server sends is larger: clients with default settings take 4 MiB.
MAX_MESSAGE_BYTES = 3 * MIB


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class Settings(BaseSettings):
    """Everything an operator can decide. Each field is an environment variable, `port` is `CLIPSTYLER_PORT`."""

    model_config = SettingsConfigDict(env_prefix="CLIPSTYLER_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address that gRPC listens on; loopback, for there is no login.")
    port: int = Field(default=50051, ge=0, le=65535, description="Port of gRPC; 0 takes a free one.")
    http_host: str = Field(default="127.0.0.1", description="Address of /metrics, /livez and /readyz.")
    http_port: int = Field(default=9464, ge=0, le=65535, description="Port of these pages; 0 takes a free one.")

    encoders: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(BUNDLED,), min_length=1, description="Encoders to load, separated by commas; the first is the default."
    )
    models: str = Field(
        default="", description="Directory of downloaded weights; empty: the user's cache. `clipstyler models` uses it."
    )
    offline: bool = Field(default=False, description="Never fetch weights: `clipstyler models pull` brings them.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where the optimizer computes; auto takes CUDA if there is one.",
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="Threads of a CPU optimizer; 0: as many as CPUs are at hand."
    )
    nice: int = Field(default=5, ge=0, le=19, description="By how much the optimizer yields to other processes.")

    evaluator: bool = Field(
        default=True, description="Whether an evaluator runs: EncoderService, and the quality of results."
    )
    providers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("auto",),
        min_length=1,
        description="ONNX Runtime's providers in order (tensorrt, cuda, cpu): the first must be active; auto: any.",
    )
    on_mismatch: Literal["pytorch", "refuse"] = Field(
        default="pytorch", description="Where an export does not agree with PyTorch: evaluate with that, or refuse."
    )
    evaluator_threads: int = Field(default=1, ge=1, le=1024, description="Threads of the evaluator.")
    cache_dir: str = Field(default="", description="Directory of exports and text directions; empty: the user's cache.")
    direction_cache_bytes: int = Field(
        default=32 * MIB, ge=0, description="Memory for text directions, in the evaluator and in the front each."
    )
    batch_wait_s: float = Field(
        default=0.002, ge=0, le=1, description="Seconds that an embedding waits for others to go with it."
    )
    max_batch: int = Field(default=64, ge=1, le=256, description="Most texts or images in one call of EncoderService.")
    report_timeout_s: float = Field(
        default=15, ge=0, le=600, description="Seconds a result is held back at most until its quality is measured."
    )

    queue_capacity: int = Field(default=16, ge=0, le=10_000, description="Jobs that may wait; one more is refused.")
    max_image_bytes: int = Field(
        default=Limits().max_bytes, ge=1024, le=256 * MIB, description="Largest photo in bytes."
    )
    max_image_pixels: int = Field(
        default=Limits().max_pixels, ge=4096, le=178_000_000, description="Largest photo in pixels."
    )
    max_text_characters: int = Field(default=MAX_CHARACTERS, ge=1, le=10_000, description="Longest text.")
    max_size: int = Field(default=1024, ge=64, le=4096, description="Largest size a photo may be fitted to.")
    max_steps: int = Field(default=500, ge=1, le=100_000, description="Most optimizer updates.")
    max_patches: int = Field(default=256, ge=1, le=1024, description="Most crops per step.")
    max_preview_size: int = Field(
        default=512,
        ge=16,
        le=768,
        description="Longest side of a preview; 768 px fit into any message.",
    )

    data_dir: str = Field(default="", description="Directory of jobs and images; empty: the user's data directory.")
    database_url: str = Field(
        default="", description="SQLAlchemy's URL of a PostgreSQL database; empty: SQLite in the data directory."
    )
    retention_s: float = Field(
        default=604_800, gt=0, description="Seconds a finished job and its images are kept; a week."
    )
    retention_bytes: int = Field(
        default=10 * 1024 * MIB, ge=0, description="Bytes of images above which the oldest finished jobs go."
    )
    upload_kept_s: float = Field(default=3600, gt=0, description="Seconds an uploaded photo is kept if no job uses it.")
    tidy_every_s: float = Field(
        default=300, gt=0, description="Seconds between two rounds that delete what need not be kept."
    )
    on_restart: Literal["requeue", "fail"] = Field(
        default="requeue", description="What becomes of a job that ran when the server died: once more, or failed."
    )

    default_deadline_s: float = Field(
        default=1800, gt=0, le=86_400, description="Seconds a job may wait and run when the caller names no deadline."
    )
    max_deadline_s: float = Field(default=7200, gt=0, le=86_400, description="Most seconds a job may wait and run.")
    drain_grace_s: float = Field(
        default=20, ge=0, le=3600, description="Seconds a running job may go on after SIGTERM before it is cancelled."
    )
    heartbeat_s: float = Field(default=10, gt=0, le=600, description="Seconds of silence before a heartbeat is sent.")
    decode_timeout_s: float = Field(default=20, gt=0, le=600, description="Seconds that decoding one photo may take.")
    start_timeout_s: float = Field(default=300, gt=0, le=3600, description="Seconds the optimizer may take to start.")
    stall_timeout_s: float = Field(
        default=300, gt=0, le=86_400, description="Seconds one step may take before the optimizer counts as hung."
    )
    restart_delay_s: float = Field(
        default=0.5, gt=0, le=60, description="Seconds before the optimizer is started again; doubles up to 30."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe lines that are logged; texts of users appear at debug only."
    )
    log_format: LogFormat = Field(default=LogFormat.JSON, description="json for machines, console for people.")

    @field_validator("encoders", "providers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @property
    def data_path(self) -> Path:
        """Directory of jobs and images."""
        return Path(self.data_dir) if self.data_dir else user_data_path("clipstyler", appauthor=False)

    @property
    def image_limits(self) -> Limits:
        """Limits of a photo, as the imaging room wants them."""
        return Limits(self.max_image_bytes, self.max_image_pixels)

    @property
    def optimizer_threads(self) -> int:
        """Threads of a CPU optimizer, explicit."""
        return self.threads or _cpus_at_hand()


def _cpus_at_hand() -> int:
    """CPUs that this process may use: its affinity, and its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.is_file():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return count
