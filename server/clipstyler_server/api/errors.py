"""Errors as the contract has them: `google.rpc.Status` in trailers, `Error` inside messages.

Codes follow AIP-193 and AIP-194: only UNAVAILABLE invites a plain retry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from clipstyler.v1 import error_pb2
from clipstyler_server.errors import ErrorDetails, Reason, Violation

DOMAIN = "clipstyler.dev"
_MESSAGE_BYTES = 700
_VIOLATION_BYTES = 400
# A status travels in trailers, of which clients accept 8 KiB: the rest is for gRPC's own and the request id.
_TRAILER_BYTES = 6 * 1024
# Bytes of a description and number of violations that are tried in turn until a status fits into its trailers.
_MAX_VIOLATIONS = 64
_DESCRIPTION_BYTES = (_VIOLATION_BYTES, 300, 220, 160, 120, 90, 68, 52, 40)
_SHORTENINGS = (*((size, _MAX_VIOLATIONS) for size in _DESCRIPTION_BYTES), (40, 32), (40, 16), (40, 8))
_SHORT_MESSAGE_BYTES = 200

CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.CREDENTIALS_MISSING: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CREDENTIALS_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CREDENTIALS_EXPIRED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNDECODABLE_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.SLOW_READER: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.TOO_MANY_CALLS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UNKNOWN_METHOD: grpc.StatusCode.UNIMPLEMENTED,
    Reason.UNKNOWN_SERVICE: grpc.StatusCode.NOT_FOUND,
    Reason.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.EVALUATIONS_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.OUT_OF_MEMORY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.WORKER_NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Reason.WORKER_CRASHED: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.DEADLINE_UNREACHABLE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.DIVERGED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.STYLIZATION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.IMAGE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.STYLIZATION_NOT_FINISHED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STYLE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.STYLE_NOT_KEPT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STYLE_BUNDLED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.ALREADY_EXISTS,
    Reason.STORAGE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STORAGE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.STORAGE_DAMAGED: grpc.StatusCode.DATA_LOSS,
    Reason.SERVER_RESTARTED: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


def status(details: ErrorDetails) -> status_pb2.Status:
    """Turn an error into a status with details that fits into trailers. The same error always gives the same status.

    Up to 64 violations are named, with shorter descriptions the more there are; one more counts those that are left.
    """
    for description_bytes, most in _SHORTENINGS:
        message = _status(details, description_bytes, most)
        if trailer_bytes(message) <= _TRAILER_BYTES:
            break
    return message


def trailer_bytes(message: status_pb2.Status) -> int:
    """Return the bytes of a status in trailers: its text percent-encoded, and all of it in base64."""
    text = sum(1 if 0x20 <= byte <= 0x7E and byte != ord("%") else 3 for byte in message.message.encode())
    size: int = message.ByteSize()
    return text + 4 * -(-size // 3)


def _status(details: ErrorDetails, description_bytes: int, most_violations: int) -> status_pb2.Status:
    number: int = CODES[details.reason].value[0]
    message_bytes = min(_MESSAGE_BYTES, max(_SHORT_MESSAGE_BYTES, 2 * description_bytes))
    message = status_pb2.Status(code=number, message=_clipped(details.message, message_bytes))
    metadata = _metadata(details, description_bytes)
    message.details.append(
        _packed(error_details_pb2.ErrorInfo(reason=details.reason, domain=DOMAIN, metadata=metadata))
    )
    if details.violations:
        bad = error_details_pb2.BadRequest()
        for field, problem in _named(details.violations, most_violations):
            bad.field_violations.add(field=field, description=_clipped(problem, description_bytes))
        message.details.append(_packed(bad))
    if details.retry_delay_s is not None:
        retry = error_details_pb2.RetryInfo(retry_delay=_duration(details.retry_delay_s))
        message.details.append(_packed(retry))
    return message


def _named(violations: tuple[Violation, ...], most: int) -> Iterable[Violation]:
    """Return the first violations, and one at the first field that is left out that counts all of those."""
    left = len(violations) - most
    if left <= 0:
        return violations
    return (*violations[:most], Violation(violations[most].field, f"and {left} more from this one on"))


def error_message(details: ErrorDetails) -> error_pb2.Error:
    """Turn an error into the message that events and jobs carry."""
    number: int = CODES[details.reason].value[0]
    message = error_pb2.Error(
        code=number,  # type: ignore[arg-type]
        reason=details.reason,
        message=_clipped(details.message, _MESSAGE_BYTES),
        metadata=_metadata(details, _VIOLATION_BYTES),
    )
    for field, problem in details.violations:
        message.field_violations.add(field=field, description=_clipped(problem, _VIOLATION_BYTES))
    if details.retry_delay_s is not None:
        message.retry_delay.CopyFrom(_duration(details.retry_delay_s))
    return message


def _metadata(details: ErrorDetails, max_bytes: int) -> dict[str, str]:
    return {name: _clipped(value, max_bytes) for name, value in details.metadata.items()}


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(round(1000 * seconds))
    return duration


def _clipped(text: str, max_bytes: int) -> str:
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    return encoded[: max_bytes - 3].decode(errors="ignore") + "..."


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
