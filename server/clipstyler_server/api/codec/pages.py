"""Pages of a list: sizes are coerced (AIP-158), tokens are opaque and checked as a whole."""

from __future__ import annotations

import hashlib
import struct
import uuid
from typing import cast

from clipstyler.v1.names import word_of
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2 import ListStylizationsRequest
from clipstyler_server.api.codec.token_text import token_bytes, token_text
from clipstyler_server.errors import Violation, invalid
from clipstyler_server.jobs.catalog import PageQuery
from clipstyler_server.storage.records import Record, State

_DEFAULT_SIZE = 50
_LARGEST_SIZE = 1000
_PLACE = struct.Struct(">d16s")
_CHECK_BYTES = 8


def read_page(request: ListStylizationsRequest, scope: str | None) -> PageQuery:
    """Read which page of the jobs of a tenant (None for all) is asked for, or raise `ServiceError` INVALID_FIELD."""
    violations = []
    if request.page_size < 0:
        violations.append(_negative(request.page_size))
    word = word_of(Stylization.State.DESCRIPTOR, request.state)
    if word and word not in list(State):
        violations.append(Violation("state", f"{word} is unknown to this server: use one of {', '.join(State)}"))
    state = State(word) if word in list(State) else None
    after = _read_token(request.page_token, state, scope) if request.page_token else None
    if request.page_token and after is None:
        violations.append(
            Violation("page_token", "was not issued by this server for this filter: start with an empty one")
        )
    if violations:
        raise invalid(*violations)
    return PageQuery(check_page_size(request.page_size), state, after, scope)


def page_token(last: Record, query: PageQuery) -> str:
    """Return the token of the page after a job, for the filter and the tenant of a query."""
    place = _PLACE.pack(last.created_at, uuid.UUID(last.id).bytes)
    return token_text(_check(place, query.state, query.scope) + place)


def check_page_size(page_size: int, largest: int = _LARGEST_SIZE) -> int:
    """Return the size of a page, coerced, or raise `ServiceError` INVALID_FIELD."""
    if page_size < 0:
        raise invalid(_negative(page_size))
    return min(page_size or _DEFAULT_SIZE, largest)


def _negative(page_size: int) -> Violation:
    return Violation("page_size", f"must be at least 0, got {page_size}")


def _read_token(token: str, state: State | None, scope: str | None) -> tuple[float, str] | None:
    decoded = token_bytes(token) or b""
    check, place = decoded[:_CHECK_BYTES], decoded[_CHECK_BYTES:]
    if len(place) != _PLACE.size or check != _check(place, state, scope):
        return None
    created_at, job_id = cast("tuple[float, bytes]", _PLACE.unpack(place))
    return created_at, str(uuid.UUID(bytes=job_id))


def _check(place: bytes, state: State | None, scope: str | None) -> bytes:
    whose = "" if scope is None else f"\0{scope}"
    return hashlib.sha256(place + f"{state or ''}{whose}".encode()).digest()[:_CHECK_BYTES]
