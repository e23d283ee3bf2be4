"""The client for ordinary code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

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
from clipstyler_client.translate import EventReader, Photo, request_to_proto

INFO_TIMEOUT_S = 10.0
_POLL_S = 0.1
_Value = TypeVar("_Value")


class StylizationStream(Iterator[Event]):
    """Events of a running stylisation; the last is its `Result`. Closing it early cancels the work.

    Usable in a `with` statement, which closes it.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reader = EventReader()
        self._ended = False

    def __next__(self) -> Event:
        """Wait for the next event.

        Raises
        ------
        StylizeError
            The call failed.
        """
        if self._ended:
            raise StopIteration
        try:
            for response in self._call:
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

    def result(self) -> Result:
        """Wait for the end and return the result, passing over the other events.

        Raises
        ------
        StylizeError
            The call failed.
        """
        for event in self:
            if isinstance(event, Result):
                return event
        raise BrokenResultError("DATA_LOSS", "the stream was closed before its result", "BROKEN_RESULT")

    def close(self) -> None:
        """End the call; unless the result is here, the server stops within one step."""
        self._ended = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A connection to a clipstyler server. Thread-safe; close it, or use it in a `with` statement.

    Parameters
    ----------
    target
        "HOST:PORT".
    credentials
        For TLS; without them the connection is not encrypted.
    """

    def __init__(self, target: str = DEFAULT_TARGET, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.target = target
        options = channel_options()
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
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
    ) -> StylizationStream:
        """Stylise a photo by a text.

        Parameters
        ----------
        photo
            Bytes of an image file, or its path.
        style_text
            What the result should look like.
        source_text
            What the photo is. Default: the encoders' source text.
        options, previews
            How it is computed, and which previews are sent. Default: the server's.
        result_format
            "png" (default), "jpeg" or "webp".
        timeout_s
            Seconds the whole call may take.

        Returns
        -------
        An iterator of events; `.result()` waits for the end.

        Raises
        ------
        OSError
            The file cannot be read.
        OptionError
            An option is none of the known ones.
        """
        request = request_to_proto(photo, style_text, source_text, options, previews, result_format)
        return StylizationStream(self._stylization.Stylize(request, timeout=timeout_s))

    def encoder(self, call: Call[_Value], timeout_s: float = ENCODER_TIMEOUT_S) -> _Value:
        """Make a call of EncoderService; `clipstyler_client.encoders` has them all, with their parameters.

        client.encoder(encoders.classify("cat.jpg", ["a cat", "a dog"]))

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = getattr(self._encoders, call.method)(call.request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return call.read(response)

    def server_info(self, timeout_s: float = INFO_TIMEOUT_S) -> ServerInfo:
        """Ask for version, limits, encoders, workers and queue.

        Raises
        ------
        StylizeError
            The call failed.
        """
        try:
            response = self._server.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return info_from_proto(response)

    def wait_until_ready(self, timeout_s: float = 60.0) -> ServerInfo:
        """Wait until a worker takes jobs.

        Raises
        ------
        ServerUnavailableError
            None did in time.
        """
        deadline = time.monotonic() + timeout_s
        problem = "its worker is still starting"
        while time.monotonic() < deadline:
            try:
                info = self.server_info(timeout_s=max(_POLL_S, min(INFO_TIMEOUT_S, deadline - time.monotonic())))
            except StylizeError as error:
                problem = error.message
            else:
                if info.is_ready:
                    return info
            time.sleep(_POLL_S)
        raise ServerUnavailableError("UNAVAILABLE", f"{self.target} was not ready after {timeout_s:g} s: {problem}")

    def close(self) -> None:
        """Close the connection; calls that run are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
