"""How long things may take, and what the server says of itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from clipstyler_server.settings.units import MIB, MOST_BYTES


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class Lifetimes(BaseModel):
    """Deadlines, the end of the server, and its processes."""

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
        default=1024 * MIB, ge=128 * MIB, le=MOST_BYTES, description="Memory that a decoder may take for an image."
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


class Reporting(BaseModel):
    """Metrics, traces and logs."""

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
