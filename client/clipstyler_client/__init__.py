"""Client of the clipstyler service, synchronous and asynchronous; needs grpcio and protobuf only.

>>> from clipstyler_client import Client
>>> with Client("127.0.0.1:50051") as client:
...     client.stylize("photo.jpg", "a sketch with black pencil").result().save("sketch.png")
"""

from clipstyler_client._async.client import AsyncClient
from clipstyler_client._async.encoders import AsyncEncoders
from clipstyler_client._async.jobs import AsyncJobs
from clipstyler_client._async.stream import AsyncStylizationStream
from clipstyler_client._async.styles import AsyncStyles
from clipstyler_client._channel import DEFAULT_TARGET, channel_options, check_target
from clipstyler_client._credentials import tls_credentials
from clipstyler_client._encoders import Embeddings, Prediction, TextDirection
from clipstyler_client._errors import (
    AccessError,
    BrokenResultError,
    DeadlineExceededError,
    FieldViolation,
    InvalidRequestError,
    ServerBusyError,
    ServerUnavailableError,
    StylizationCancelledError,
    StylizeError,
)
from clipstyler_client._events import (
    Box,
    Draft,
    EncoderModel,
    Event,
    Gap,
    Heartbeat,
    Losses,
    Preparing,
    Preview,
    Progress,
    QualityReport,
    Queued,
    RegionSpec,
    Rendering,
    Result,
    Spec,
    Started,
    Warning,
)
from clipstyler_client._jobs import Job, JobImage, JobPage, Upload
from clipstyler_client._options import OptionError, PreviewOptions, StylizeOptions
from clipstyler_client._regions import Region
from clipstyler_client._server_info import EncoderSet, Evaluator, Identity, PresetInfo, ServerInfo, Worker
from clipstyler_client._styles import Style, StyleControls, StyledPhoto, StylePage
from clipstyler_client._sync.client import Client
from clipstyler_client._sync.encoders import Encoders
from clipstyler_client._sync.jobs import Jobs
from clipstyler_client._sync.stream import StylizationStream
from clipstyler_client._sync.styles import Styles

__all__ = [
    "DEFAULT_TARGET",
    "AccessError",
    "AsyncClient",
    "AsyncEncoders",
    "AsyncJobs",
    "AsyncStyles",
    "AsyncStylizationStream",
    "Box",
    "BrokenResultError",
    "Client",
    "DeadlineExceededError",
    "Draft",
    "Embeddings",
    "EncoderModel",
    "EncoderSet",
    "Encoders",
    "Evaluator",
    "Event",
    "FieldViolation",
    "Gap",
    "Heartbeat",
    "Identity",
    "InvalidRequestError",
    "Job",
    "JobImage",
    "JobPage",
    "Jobs",
    "Losses",
    "OptionError",
    "Prediction",
    "Preparing",
    "PresetInfo",
    "Preview",
    "PreviewOptions",
    "Progress",
    "QualityReport",
    "Queued",
    "Region",
    "RegionSpec",
    "Rendering",
    "Result",
    "ServerBusyError",
    "ServerInfo",
    "ServerUnavailableError",
    "Spec",
    "Started",
    "Style",
    "StyleControls",
    "StylePage",
    "StyledPhoto",
    "Styles",
    "StylizationCancelledError",
    "StylizationStream",
    "StylizeError",
    "StylizeOptions",
    "TextDirection",
    "Upload",
    "Warning",
    "Worker",
    "channel_options",
    "check_target",
    "tls_credentials",
]
