"""What came of the calls of an attack: which errors the server explained, and which it did not."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tests.attack.methods import UNKNOWN_METHOD
from tests.service.harness import details as detail_of

DOMAIN = "clipstyler.dev"
CALLS_AT_ONCE = 32
"""Calls in flight at most, so that the attacker does not distort what it measures."""
_STATUS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Excuse:
    """A status without ErrorInfo that gRPC itself makes: its code, a pattern in its text, and its name in the table."""

    code: grpc.StatusCode
    pattern: str
    name: str


# Everything else without ErrorInfo counts as an unmapped error.
EXCUSES = (
    Excuse(grpc.StatusCode.CANCELLED, "Locally cancelled", "cancelled by the attacker"),
    Excuse(grpc.StatusCode.DEADLINE_EXCEEDED, "", "deadline of the attacker"),
    Excuse(grpc.StatusCode.UNIMPLEMENTED, "Method not found", "unknown method"),
    Excuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max", "message over the size limit"),
    Excuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "metadata size exceeds", "metadata over the size limit"),
    Excuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "^$", "metadata over the size limit in all"),
    # The attacker's gRPC sets this itself if it still sends while the server's status arrives, and loses the status.
    Excuse(grpc.StatusCode.INTERNAL, "^Internal error from Core$", "status lost by the attacker's gRPC"),
    # A crash of the server also looks like this: that the server lives is checked apart.
    Excuse(grpc.StatusCode.UNAVAILABLE, "failed to connect", "no connection"),
)


@dataclass
class Tally:
    """Counts the inputs of an attack and what came of them.

    Attributes
    ----------
    inputs
        Requests, images or connections sent.
    answers
        Status codes of what the server answered.
    excused
        Statuses that gRPC made without the server, by the name of the excuse.
    unmapped
        Errors without ErrorInfo of our domain, by method and text.
    unanswered
        Calls that should have been answered and were not.
    notes
        What an attack counted besides.
    """

    inputs: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    notes: dict[str, object] = field(default_factory=dict)

    def ok(self) -> None:
        """Count a call that succeeded."""
        self.answers["OK"] += 1

    def ended(self, method: str, code: grpc.StatusCode, text: str, trailers: grpc.aio.Metadata | None) -> None:
        """Count how a call ended."""
        if code is grpc.StatusCode.OK or is_mapped(_status_bytes(trailers)):
            self.answers[code.name] += 1
        elif excuse := _excuse(method, code, text):
            self.excused[excuse.name] += 1
        else:
            self.answers[code.name] += 1
            self.unmapped[f"{method} {code.name}: {text[:100]}"] += 1

    def note(self, what: str) -> None:
        """Count something else."""
        self.notes[what] = int(self.notes.get(what, 0)) + 1

    async def count(self, method: str, call: Awaitable[object]) -> object | None:
        """Await a call and count it; returns its response, None if it failed."""
        self.inputs += 1
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            self.ended(method, error.code(), error.details() or "", error.trailing_metadata())
            return None
        self.ok()
        return response


def is_mapped(status: bytes) -> bool:
    """Return whether a serialized status holds ErrorInfo of our domain."""
    try:
        info = detail_of(status_pb2.Status.FromString(status), error_details_pb2.ErrorInfo)
    except DecodeError:
        return False
    return info is not None and info.domain == DOMAIN and bool(info.reason)


def _status_bytes(trailers: grpc.aio.Metadata | None) -> bytes:
    found = [value for key, value in trailers or () if key == _STATUS_KEY]
    return bytes(found[0]) if found else b""


def _excuse(method: str, code: grpc.StatusCode, text: str) -> Excuse | None:
    if code is grpc.StatusCode.UNIMPLEMENTED and method != UNKNOWN_METHOD:
        return None
    return next((excuse for excuse in EXCUSES if excuse.code is code and re.search(excuse.pattern, text)), None)


async def run_all(calls: Iterable[Awaitable[None]], at_once: int = CALLS_AT_ONCE) -> None:
    """Await all, a bounded number at a time; each is made when its turn comes."""
    pending = iter(calls)

    async def work() -> None:
        for call in pending:
            await call

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
