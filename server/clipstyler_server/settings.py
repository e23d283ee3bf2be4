"""Settings of the server, read once from the environment (`CLIPSTYLER_...`) or given as keywords."""

from __future__ import annotations

import math
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import Field, IPvAnyNetwork, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clipstyler.acceleration import AUTO, parse
from clipstyler.encoders.registry import BUNDLED
from clipstyler.home import cache_directory
from clipstyler.image_format import LARGEST_OUTPUT
from clipstyler.imaging import Limits
from clipstyler.input_files import MAX_FILE_BYTES
from clipstyler.prompts import MAX_CHARACTERS, MOST_CHARACTERS
from clipstyler_server.devices import ANY, Device, parse_devices
from clipstyler_server.identity.files import IdentityPaths

MIB = 2**20
# The largest message that the server sends: clients with default settings accept 4 MiB.
MAX_MESSAGE_BYTES = 3 * MIB
# The largest `max_batch`.
LARGEST_BATCH = 256
MAX_RUNS_PER_DEVICE = 16
# No time that is told to a caller lies after the year 9999, and no limit of bytes exceeds what the system can count.
_LONGEST_S = 100 * 365 * 86_400
_MOST_BYTES = 2**60


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class Settings(BaseSettings):
    """Everything an operator can configure. Each field is an environment variable: `port` is `CLIPSTYLER_PORT`."""

    model_config = SettingsConfigDict(env_prefix="CLIPSTYLER_", frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1", description="Address of gRPC. Loopback by default; others need TLS, or `insecure`."
    )
    port: int = Field(default=50051, ge=0, le=65535, description="Port of gRPC; 0 picks a free port.")
    http_host: str = Field(default="127.0.0.1", description="Address of /metrics, /startupz, /livez and /readyz.")
    http_port: int = Field(default=9464, ge=0, le=65535, description="Port of these pages; 0 picks a free port.")
    insecure: bool = Field(
        default=False, description="Whether addresses other than loopback may be served without TLS."
    )
    tls_cert: str = Field(
        default="",
        description="File of the server's certificate chain in PEM; empty: no TLS. Both ports use it. "
        "It is read again when it changes.",
    )
    tls_key: str = Field(default="", description="File of its private key, which others must not read.")
    tls_client_ca: str = Field(
        default="",
        description="File of the authorities of client certificates in PEM; callers of gRPC then need a certificate.",
    )
    tokens: str = Field(
        default="",
        description="File of bearer tokens, from `clipstyler tokens create`; empty: none is asked for. "
        "It is read again when it changes.",
    )
    tenants: str = Field(
        default="", description="TOML file of tenants' limits and certificates, read again when it changes."
    )
    http_auth: bool = Field(
        default=False,
        description="Whether /metrics, and the reasons on /readyz, need the token of a probe or operator.",
    )

    encoder_sets: Annotated[tuple[str, ...], NoDecode] = Field(
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

    evaluator: bool = Field(
        default=True, description="Whether to run an evaluator, for EncoderService and the quality reports of results."
    )
    providers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("auto",),
        min_length=1,
        description="ONNX Runtime providers in order (tensorrt, cuda, cpu): the first must be active; auto: any.",
    )
    on_mismatch: Literal["pytorch", "refuse"] = Field(
        default="pytorch",
        description="If an export does not agree with PyTorch: evaluate with PyTorch, or refuse to start.",
    )
    evaluator_threads: int = Field(default=1, ge=1, le=1024, description="Threads of the evaluator.")
    cache_dir: str = Field(default="", description="Directory of exports and text directions; empty: the user's cache.")
    direction_cache_bytes: int = Field(
        default=32 * MIB,
        ge=0,
        le=_MOST_BYTES,
        description="Memory for text directions, in each process that uses them.",
    )
    batch_wait_s: float = Field(
        default=0.002, ge=0, le=1, description="Maximum batching delay of an embedding, in seconds."
    )
    max_batch: int = Field(
        default=64,
        ge=1,
        le=LARGEST_BATCH,
        description="Maximum number of texts or images in one call of EncoderService.",
    )
    report_timeout_s: float = Field(
        default=15,
        ge=0,
        le=600,
        description="Maximum time in seconds that a result is held back for its quality report.",
    )

    queue_capacity: int = Field(
        default=16, ge=0, le=10_000, description="Maximum queue length; further jobs are rejected."
    )
    max_image_bytes: int = Field(
        default=Limits().max_bytes, ge=1024, le=MAX_FILE_BYTES, description="Maximum size of a photo in bytes."
    )
    max_image_pixels: int = Field(
        default=Limits().max_pixels, ge=4096, le=178_000_000, description="Maximum size of a photo in pixels."
    )
    read_heic: bool = Field(
        default=False,
        description="Whether HEIC photos are read. No release of their decoder is free of known vulnerabilities.",
    )
    max_text_characters: int = Field(
        default=MAX_CHARACTERS, ge=1, le=MOST_CHARACTERS, description="Maximum length of a text."
    )
    max_size: int = Field(default=1024, ge=64, le=4096, description="Maximum `size` of a stylization.")
    max_output_size: int = Field(
        default=8192,
        ge=64,
        le=LARGEST_OUTPUT,
        description="Maximum `output_size`; results of larger photos are limited to it.",
    )
    max_steps: int = Field(default=500, ge=1, le=100_000, description="Maximum `steps` of a stylization.")
    max_patches: int = Field(default=256, ge=1, le=1024, description="Maximum `patches` of a stylization.")
    max_job_memory_bytes: int = Field(
        default=8 * 1024 * MIB,
        ge=0,
        le=_MOST_BYTES,
        description="Memory that the stylizations of a device may take at once by estimate, besides the encoders: "
        "each its part of it, with `runs_per_device`; 0: no limit.",
    )
    max_preview_size: int = Field(
        default=512,
        ge=16,
        le=768,
        description="Maximum side of a preview; 768 px fit into any message.",
    )

    caller_share: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Largest fraction of a bound that one caller, a tenant or else an address, may take; "
        "1 behind a proxy that hides addresses.",
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks, separated by commas, of proxies whose `x-forwarded-for` names the caller.",
    )
    max_calls: int = Field(default=4096, ge=8, le=100_000, description="Maximum number of open calls.")
    max_incoming_bytes: int = Field(
        default=68 * MIB,
        ge=0,
        le=_MOST_BYTES,
        description="Bytes of requests with photos that may arrive at the same time; others wait. At least one fits.",
    )
    max_outgoing_bytes: int = Field(
        default=64 * MIB,
        ge=0,
        le=_MOST_BYTES,
        description="Bytes of large responses that may wait for their readers; others wait.",
    )
    receive_timeout_s: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="Seconds in which a request with a photo, or a part of an upload, must come.",
    )
    upload_timeout_s: float = Field(
        default=600, gt=0, le=86_400, description="Seconds in which a whole upload must arrive."
    )
    write_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="Seconds in which a caller must read a response that was sent."
    )

    data_dir: str = Field(default="", description="Directory of jobs and images; empty: the user's data directory.")
    database_url: str = Field(
        default="", description="SQLAlchemy URL of a PostgreSQL database; empty: SQLite in the data directory."
    )
    shared_dir: str = Field(
        default="",
        description="Directory of images that all servers of a PostgreSQL database use: they then share its jobs. "
        "Empty: this server has jobs and images of its own.",
    )
    advertise: str = Field(
        default="",
        description="Address, HOST:PORT, at which servers that share jobs reach this one's gRPC; empty: where "
        "it listens.",
    )
    lease_s: float = Field(
        default=12,
        ge=1,
        le=30,
        description="Seconds after which the jobs of a server that is gone are taken over, if servers share them.",
    )
    peer_ca: str = Field(
        default="",
        description="File of the authorities of the certificates of servers that share jobs, in PEM; empty: those that "
        "gRPC trusts.",
    )
    peer_name: str = Field(
        default="",
        description="Name in these certificates; empty: the host by which a server is reached.",
    )
    retention_s: float = Field(
        default=604_800,
        gt=0,
        le=_LONGEST_S,
        description="Seconds that a finished job and its images are kept; default a week.",
    )
    retention_bytes: int = Field(
        default=10 * 1024 * MIB,
        ge=0,
        le=_MOST_BYTES,
        description="Bytes of images above which the oldest finished jobs are deleted.",
    )
    upload_retention_s: float = Field(
        default=3600, gt=0, le=_LONGEST_S, description="Seconds that an uploaded photo is kept if no job uses it."
    )
    retention_interval_s: float = Field(
        default=300, gt=0, le=_LONGEST_S, description="Seconds between two runs of retention."
    )
    on_restart: Literal["requeue", "fail"] = Field(
        default="requeue", description="Policy for jobs interrupted by a crash of the server: requeue or fail."
    )

    default_deadline_s: float = Field(
        default=1800, gt=0, le=86_400, description="Seconds that a job may wait and run if the caller sets no timeout."
    )
    max_deadline_s: float = Field(
        default=7200, gt=0, le=86_400, description="Maximum time in seconds that a job may wait and run."
    )
    drain_delay_s: float = Field(
        default=0,
        ge=0,
        le=600,
        description="Seconds after SIGTERM in which the server reports that it is not ready, and still takes calls: "
        "longer than a load balancer needs to notice.",
    )
    drain_grace_s: float = Field(
        default=20,
        ge=0,
        le=3600,
        description="Seconds that running jobs and calls may continue after that before they are ended.",
    )
    heartbeat_s: float = Field(default=10, gt=0, le=600, description="Seconds of silence before a heartbeat is sent.")
    decoders: int = Field(
        default=2, ge=1, le=64, description="Decoder processes; one caller never has all of them if there are several."
    )
    decoder_memory_bytes: int = Field(
        default=1024 * MIB, ge=128 * MIB, le=_MOST_BYTES, description="Memory that a decoder may take for an image."
    )
    decode_timeout_s: float = Field(default=20, gt=0, le=600, description="Seconds that decoding one photo may take.")
    start_timeout_s: float = Field(default=300, gt=0, le=3600, description="Seconds that a worker may take to start.")
    stall_timeout_s: float = Field(
        default=300,
        gt=0,
        le=86_400,
        description="Seconds without a sign of life after which a busy worker is restarted.",
    )
    restart_delay_s: float = Field(
        default=0.5, gt=0, le=60, description="Seconds before a lost worker is restarted; doubles up to 2."
    )

    metrics_tenants: bool = Field(
        default=False, description="Whether metrics name tenants: calls, jobs and steps of the first hundred."
    )
    traces: Literal["off", "otlp"] = Field(
        default="off",
        description="Whether traces are exported, by OTLP over HTTP; OpenTelemetry's variables say where (`OTEL_...`).",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Minimum severity of log lines; texts of users appear at debug level only."
    )
    log_format: LogFormat = Field(default=LogFormat.JSON, description="json for machines, console for people.")

    @field_validator("encoder_sets", "providers", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("host", "http_host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        """Take an IPv6 address as it stands before a port, too."""
        return value.removeprefix("[").removesuffix("]")

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, value: str) -> str:
        if value:
            parse_devices(value)
        return value

    @model_validator(mode="after")
    def _check_engine(self) -> Settings:
        problems = []
        if self.engine == "ray" and self.optimizer_devices[0].device == ANY:
            problems.append("the engine ray needs `devices`: cuda*8 for eight GPUs of the cluster, or cpu*4")
        if self.engine == "ray" and self.runs_per_device > 1:
            problems.append("the engine ray runs one job per device: leave `runs_per_device` at 1")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @field_validator("accelerations")
    @classmethod
    def _check_accelerations(cls, value: str) -> str:
        parse(value)
        return value

    @property
    def data_path(self) -> Path:
        """Directory of jobs and images."""
        return Path(self.data_dir) if self.data_dir else user_data_path("clipstyler", appauthor=False)

    @property
    def spool_path(self) -> Path:
        """Directory of files that pass between processes."""
        return self.data_path / "spool"

    @property
    def identity_paths(self) -> IdentityPaths:
        """Files of tokens, tenants and certificates."""
        return IdentityPaths(
            tokens=_path(self.tokens),
            tenants=_path(self.tenants),
            tls_cert=_path(self.tls_cert),
            tls_key=_path(self.tls_key),
            tls_client_ca=_path(self.tls_client_ca),
        )

    @property
    def cache_path(self) -> Path:
        """Directory of exports and text directions."""
        return Path(self.cache_dir) if self.cache_dir else cache_directory()

    @property
    def image_limits(self) -> Limits:
        """Limits of a photo."""
        return Limits(self.max_image_bytes, self.max_image_pixels, self.read_heic)

    @property
    def memory_bytes_per_job(self) -> int:
        """Memory that one stylization may take by estimate, so that as many as run at once have room; 0: no limit."""
        return math.ceil(self.max_job_memory_bytes / self.runs_per_device)

    @property
    def max_request_bytes(self) -> int:
        """Bytes of the largest request: a photo, and what is said about it."""
        return self.max_image_bytes + MIB

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


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _available_cpus() -> int:
    """Count the CPUs that this process may use, by its affinity and its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.is_file():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return count
