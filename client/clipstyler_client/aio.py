"""The client for asyncio; the same names as the sync one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from clipstyler.v1 import (
    encoder_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    stylization_service_pb2_grpc,
)
from clipstyler_client.channel import DEFAULT_TARGET, channel_options
from clipstyler_client.encoders import ENCODER_TIMEOUT_S, Call
from clipstyler_client.errors import BrokenResultError, ServerUnavailableError, StylizeError, from_rpc_error
from clipstyler_client.events import Event, Result
from clipstyler_client.options import PreviewOptions, StylizeOptions
from clipstyler_client.server_info import ServerInfo, info_from_proto
from clipstyler_client.sync import INFO_TIMEOUT_S
from clipstyler_client.translate import EventReader, Photo, request_to_proto

_POLL_S = 0.1
_Value = TypeVar("_Value")


class AsyncStylizationStream(AsyncIterator[Event]):
    """Events of a running stylisation; the last is its `Result`. Closing it early cancels the work.

    Usable in an `async with` statement, which closes it.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._messages = aiter(call)
        self._reader = EventReader()
        self._ended = False

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises
        ------
        StylizeError
            The call failed.
        """
        if self._ended:
            raise StopAsyncIteration
        try:
            async for response in self._messages:
                event = self._reader.read(response.event)
                if event is not None:
                    self._ended = isinstance(event, Result)
                    return event
        except grpc.RpcError as error:
            self._ended = True
            raise from_rpc_error(error) from error
        except StylizeError:
            self._ended = True
            raise
        raise BrokenResultError("DATA_LOSS", "the stream ended without a result; ask again", "BROKEN_RESULT")

    async def result(self) -> Result:
        """Wait for the end and return the result, passing over the other events.

        Raises
        ------
        StylizeError
            The call failed.
        """
        async for event in self:
            if isinstance(event, Result):
                return event
        raise BrokenResultError("DATA_LOSS", "the stream was closed before its result", "BROKEN_RESULT")

    def close(self) -> None:
        """End the call; unless the result is here, the server stops within one step."""
        self._ended = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """A connection to a clipstyler server for asyncio; see `clipstyler_client.Client` for all parameters.

    Make it where an event loop runs, and close it, or use it in an `async with` statement.
    """

    def __init__(self, target: str = DEFAULT_TARGET, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.target = target
        options = channel_options()
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        self._stylization = stylization_service_pb2_grpc.StylizationServiceStub(self._channel)
        self._encoders: Any = encoder_service_pb2_grpc.EncoderServiceStub(self._channel)
        self._server = server_service_pb2_grpc.ServerServiceStub(self._channel)

    def stylize(
        self,
        photo: Photo,
        style_text: str,
        *,
        source_text: str | None = None,
        options: StylizeOptions | None = None,
        previews: PreviewOptions | None = None,
        result_format: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncStylizationStream:
        """Stylise a photo by a text: an async iterator of events; `await .result()` waits for the end."""
        request = request_to_proto(photo, style_text, source_text, options, previews, result_format)
        return AsyncStylizationStream(self._stylization.Stylize(request, timeout=timeout_s))

    async def encoder(self, call: Call[_Value], timeout_s: float = ENCODER_TIMEOUT_S) -> _Value:
        """Make a call of EncoderService; `clipstyler_client.encoders` has them all, with their parameters.

        client.encoder(encoders.classify("cat.jpg", ["a cat", "a dog"]))

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = await getattr(self._encoders, call.method)(call.request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return call.read(response)

    async def server_info(self, timeout_s: float = INFO_TIMEOUT_S) -> ServerInfo:
        """Ask for version, limits, encoders, workers and queue.

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = await self._server.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return info_from_proto(response)

    async def wait_until_ready(self, timeout_s: float = 60.0) -> ServerInfo:
        """Wait until a worker takes jobs.

        Raises
        ------
        ServerUnavailableError
            None did in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        info = await self.server_info()
                    except StylizeError:
                        info = None
                    if info is not None and info.is_ready:
                        return info
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise ServerUnavailableError("UNAVAILABLE", f"{self.target} was not ready after {timeout_s:g} s") from error

    async def close(self) -> None:
        """Close the connection; calls that run are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
