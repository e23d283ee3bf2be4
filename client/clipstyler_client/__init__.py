"""Client of the clipstyler service, sync and async; needs grpcio, protobuf and nothing heavy.

from clipstyler_client import Client

with Client("127.0.0.1:50051") as client:
    result = client.stylize("photo.jpg", "a sketch with black pencil").result()
    result.save("sketch.png")
"""

from clipstyler_client import encoders, jobs
from clipstyler_client.aio import AsyncClient
from clipstyler_client.errors import (
    BrokenResultError,
    DeadlineExceededError,
    FieldViolation,
    InvalidRequestError,
    ServerBusyError,
    ServerUnavailableError,
    StylizationCancelledError,
    StylizeError,
)
from clipstyler_client.events import (
    Event,
    Gap,
    Heartbeat,
    Losses,
    Model,
    Preview,
    Progress,
    Quality,
    Queued,
    Result,
    Started,
    Warning,  # noqa: A004 - the contract's name
)
from clipstyler_client.jobs import Job, JobImage
from clipstyler_client.options import OptionError, PreviewOptions, StylizeOptions
from clipstyler_client.server_info import ServerInfo
from clipstyler_client.sync import Client

__all__ = [
    "AsyncClient",
    "BrokenResultError",
    "Client",
    "DeadlineExceededError",
    "Event",
    "FieldViolation",
    "Gap",
    "Heartbeat",
    "InvalidRequestError",
    "Job",
    "JobImage",
    "Losses",
    "Model",
    "OptionError",
    "Preview",
    "PreviewOptions",
    "Progress",
    "Quality",
    "Queued",
    "Result",
    "ServerBusyError",
    "ServerInfo",
    "ServerUnavailableError",
    "Started",
    "StylizationCancelledError",
    "StylizeError",
    "StylizeOptions",
    "Warning",
    "encoders",
    "jobs",
]
