"""Values that appear in many messages: resource names, times, durations."""

from __future__ import annotations

import uuid
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from clipstyler_server.errors import Violation, invalid

STYLIZATIONS = "stylizations/"
STYLES = "styles/"


def stylization_name(job_id: str) -> str:
    """Return the resource name of a job."""
    return STYLIZATIONS + job_id


def read_stylization_name(name: str, field: str = "name") -> str:
    """Return the id of a job, in canonical form, or raise `ServiceError` INVALID_FIELD."""
    job_id = canonical_uuid(name.removeprefix(STYLIZATIONS))
    if not name.startswith(STYLIZATIONS) or job_id is None:
        raise invalid(Violation(field, f"must be {STYLIZATIONS}{{uuid}}, got {name[:80]!r}"))
    return job_id


def style_name(digest: str) -> str:
    """Return the resource name of a style."""
    return STYLES + digest


def canonical_uuid(text: str) -> str | None:
    """Return a UUID in lower case with hyphens; None if the text is no UUID in the usual form."""
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None


def duration(seconds: float) -> Duration:
    """Return a duration."""
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def timestamp(seconds: float) -> Timestamp:
    """Return a time from seconds since 1970."""
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message
