"""Where jobs and images are stored, with whom they are shared, and how long they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import BaseModel, Field

from clipstyler_server.settings.units import MIB, MOST_BYTES

# No time that is told to a caller lies after the year 9999.
_LONGEST_S = 100 * 365 * 86_400


class Storing(BaseModel):
    """The storage, and servers that share it."""

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
        le=MOST_BYTES,
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

    @property
    def data_path(self) -> Path:
        """Directory of jobs and images."""
        return Path(self.data_dir) if self.data_dir else user_data_path("clipstyler", appauthor=False)

    @property
    def spool_path(self) -> Path:
        """Directory of files that pass between processes."""
        return self.data_path / "spool"
