"""Receives the requests of a call: within the bounds, in time, and decoded without what the contract does not know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError, Message

from clipstyler_server.api.bounds import SMALL_REQUEST_BYTES, CallBounds
from clipstyler_server.api.wire_format import has_more_fields
from clipstyler_server.errors import Reason, ServiceError, error
from clipstyler_server.sharing import FairBudget, Lease

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


# A request that the contract allows has some hundred: its labels, texts or images.
_MOST_FIELDS = 4096


class Requests:
    """The requests of one call, each holding its share of the bounds until the next one is asked for.

    Parameters
    ----------
    context
        Of a call whose requests arrive as bytes.
    parse
        Makes a message of bytes, or raises `DecodeError`.
    bounds
        What is shared with all other calls.
    account
        Of the caller.
    line
        In which its requests wait, one after the other: its connection.
    has_photos
        Whether requests of this method carry images.

    Attributes
    ----------
    received_bytes
        Of all requests so far.
    is_waiting
        Whether it waits for the caller to send the next one.
    """

    def __init__(
        self,
        context: Context,
        parse: Callable[[bytes], Message],
        bounds: CallBounds,
        account: str,
        line: str,
        has_photos: bool,
    ) -> None:
        self._context = context
        self._parse = parse
        self._account, self._line = account, line
        self._has_photos = has_photos
        self._largest = bounds.largest_request
        self._budget: FairBudget = bounds.photos if has_photos else bounds.small
        self._timeout_s = bounds.photo_timeout_s if has_photos else bounds.small_timeout_s
        self._turns = bounds.large_turns
        self._lease: Lease | None = None
        self.received_bytes = 0
        self.is_waiting = False

    async def only(self) -> Message:
        """Receive the request of a call that has one.

        Raises
        ------
        ServiceError
            UNDECODABLE_REQUEST or REQUEST_TIMEOUT.
        """
        request = await self._next()
        if request is None:
            raise error(Reason.UNDECODABLE_REQUEST, "the call ended without a request message")
        return request

    async def all(self) -> AsyncIterator[Message]:
        """Receive the requests of a stream, one by one; raises as `only`.

        A stream of small requests that stays silent ends: it would keep its share of the bounds for nothing.
        """
        is_first = True
        while True:
            try:
                request = await self._next()
            except ServiceError as problem:
                if problem.reason is Reason.REQUEST_TIMEOUT and not (is_first or self._has_photos):
                    return
                raise
            if request is None:
                return
            handed_over = [request]
            del request  # nothing here holds its bytes while they are used
            yield handed_over.pop()
            is_first = False

    def release(self) -> None:
        """Give back what the latest request holds: its bytes are used or dropped."""
        if self._lease:
            self._lease.release()

    async def _next(self) -> Message | None:
        self.release()
        self._lease = await self._budget.take(self._account, self._largest, line=self._line)
        self.is_waiting = True
        try:
            async with asyncio.timeout(self._timeout_s):
                received: Any = await self._context.read()
        except TimeoutError:
            raise _too_slow(self._timeout_s) from None
        finally:
            self.is_waiting = False
        if received is grpc.aio.EOF:
            return None
        self.received_bytes += len(received)
        self._lease.shrink(len(received))
        if len(received) <= SMALL_REQUEST_BYTES:
            return self._decoded(received)
        # To parse a large request copies it. The event loop comes round before, after, and between two of them.
        async with self._turns:
            await asyncio.sleep(0)
            request = self._decoded(received)
            del received
            await asyncio.sleep(0)
        return request

    def _decoded(self, received: bytes) -> Message:
        if not self._has_photos and len(received) > SMALL_REQUEST_BYTES:
            raise error(
                Reason.UNDECODABLE_REQUEST,
                "the request has {size} bytes, and requests of this method have at most {limit}",
                size=len(received),
                limit=SMALL_REQUEST_BYTES,
            )
        if len(received) > SMALL_REQUEST_BYTES and has_more_fields(received, _MOST_FIELDS):
            raise error(
                Reason.UNDECODABLE_REQUEST,
                "the request has more than {limit} fields and elements: send fewer",
                limit=_MOST_FIELDS,
            )
        try:
            request = self._parse(received)
        except (DecodeError, UnicodeDecodeError, ValueError, RecursionError) as problem:
            raise error(
                Reason.UNDECODABLE_REQUEST, "the request is no message of this method: use stubs made from the contract"
            ) from problem
        # What this version of the contract does not know is neither kept nor stored.
        request.DiscardUnknownFields()
        return request


def _too_slow(limit_s: float) -> ServiceError:
    return error(
        Reason.REQUEST_TIMEOUT,
        "no complete request message arrived within {limit_s} s: send large photos in parts, with UploadImage",
        limit_s=limit_s,
    )
