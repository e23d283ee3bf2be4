"""Settings of the server, read once from the environment (`CLIPSTYLER_...`) or given as keywords."""

from __future__ import annotations

import math

from pydantic_settings import BaseSettings, SettingsConfigDict

from clipstyler_server.settings.bounds import CallBounds, RequestBounds
from clipstyler_server.settings.evaluating import LARGEST_BATCH, Evaluating
from clipstyler_server.settings.listening import Listening
from clipstyler_server.settings.optimizing import Optimizing
from clipstyler_server.settings.running import Lifetimes, Reporting
from clipstyler_server.settings.storing import Storing
from clipstyler_server.settings.units import MIB

__all__ = ["LARGEST_BATCH", "MAX_MESSAGE_BYTES", "MIB", "Settings"]

MAX_MESSAGE_BYTES = 3 * MIB
"""The largest message that the server sends: clients with default settings accept 4 MiB."""


# The fields of the last base come first.
class Settings(
    Reporting, Lifetimes, Storing, CallBounds, RequestBounds, Evaluating, Optimizing, Listening, BaseSettings
):
    """Everything an operator can configure. Each field is an environment variable: `port` is `CLIPSTYLER_PORT`."""

    model_config = SettingsConfigDict(env_prefix="CLIPSTYLER_", frozen=True, extra="forbid")

    @property
    def memory_bytes_per_job(self) -> int:
        """Memory that one stylization may take by estimate, so that as many as run at once have room; 0: no limit."""
        return math.ceil(self.max_job_memory_bytes / self.runs_per_device)
