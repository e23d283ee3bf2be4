"""The client: one connection to a server."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from clipstyler.v1 import server_service_pb2
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler_client._sync.connection import Connection
from clipstyler_client._sync.encoders import Encoders
from clipstyler_client._sync.jobs import Jobs
from clipstyler_client._sync.stream import StylizationStream
from clipstyler_client._sync.styles import Styles
from clipstyler_client._channel import DEFAULT_TARGET
from clipstyler_client._codec import Photo, photo_bytes, spec_message
from clipstyler_client._errors import ServerUnavailableError, StylizeError
from clipstyler_client._jobs import priority_number
from clipstyler_client._options import PreviewOptions, StylizeOptions
from clipstyler_client._regions import Region, region_message
from clipstyler_client._resume import Allowance, Resume
from clipstyler_client._server_info import ServerInfo, server_info

INFO_TIMEOUT_S = 10.0
_POLL_S = 0.1


class Client:
    """A connection to a clipstyler server. Close it, or use it in a `with` statement.

    Parameters
    ----------
    target
        "HOST:PORT".
    credentials
        For TLS, from `tls_credentials` or gRPC; without them the connection is not encrypted.
    token
        Bearer token, for a server that asks for one. It is sent unencrypted to this machine only.

    Raises
    ------
    OptionError
        The token would leave this machine without encryption.

    Attributes
    ----------
    jobs
        Durable jobs: create, watch, list, cancel, download, ...
    styles
        Styles: list, upload, apply to photos, ...
    encoders
        Embeddings, text directions, classification, evaluation.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        credentials: grpc.ChannelCredentials | None = None,
        *,
        token: str | None = None,
    ) -> None:
        self.target = target
        self._connection = Connection(target, credentials, token)
        self.jobs = Jobs(self._connection)
        self.styles = Styles(self._connection, self.jobs)
        self.encoders = Encoders(self._connection)

    def stylize(
        self,
        photo: Photo,
        style_text: str,
        *,
        source_text: str | None = None,
        region: Region | None = None,
        previews: PreviewOptions | None = None,
        result_format: str | None = None,
        priority: str = "normal",
        timeout_s: float | None = None,
        **options: Unpack[StylizeOptions],
    ) -> StylizationStream:
        """Stylize a photo by a text while the call lasts.

        A call that a restart of the server interrupts begins again: its events start over, with the same result if a
        `seed` is given. `jobs.create` and `jobs.watch` continue instead.

        Parameters
        ----------
        photo
            Bytes of an image file, or its path.
        style_text
            What the result should look like.
        source_text
            What the photo shows. Default: the encoders' source text.
        region
            A part of the photo that stays as it is, or follows a text of its own.
        previews
            Which previews are sent: `{"every_steps": 5, "max_size": 256, "format": "jpeg"}`. Default: the server's.
        result_format
            "png" (default), "jpeg" or "webp".
        priority
            "low", "normal" or "high".
        timeout_s
            Seconds that the whole call may take.
        **options
            `size`, `steps`, `seed`, ...: how it is computed. Default: the server's.

        Returns
        -------
        An iterator of events; `.result()` waits for the end.

        Raises
        ------
        OSError
            The file cannot be read.
        OptionError
            An option is unknown or does not fit.
        """
        request = pb.StylizeRequest(
            spec=spec_message(
                photo_bytes(photo),
                style_text,
                source_text,
                options,
                previews,
                result_format,
                region=region_message(region),
            ),
            priority=priority_number(priority),
        )
        allowance = Allowance(timeout_s)

        def begin(_sequence: int) -> Any:
            return self._connection.stylizations.Stylize(request, timeout=allowance.left_s)

        return StylizationStream(Resume(begin, allowance=allowance), lambda: self._connection.is_closed)

    def server_info(self, *, timeout_s: float = INFO_TIMEOUT_S) -> ServerInfo:
        """Get version, limits, encoder sets, workers and queue; raises `StylizeError`."""
        request = server_service_pb2.GetServerInfoRequest()
        response = self._connection.call(self._connection.server.GetServerInfo, request, timeout_s)
        return server_info(response.server_info)

    def wait_until_ready(self, timeout_s: float = 60.0) -> ServerInfo:
        """Wait until a worker takes jobs.

        Raises
        ------
        ServerUnavailableError
            None does in time.
        StylizationCancelledError
            The client was closed.
        """
        deadline = time.monotonic() + timeout_s
        problem = "its worker is still starting"
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                info = self.server_info(timeout_s=max(_POLL_S, min(INFO_TIMEOUT_S, left_s)))
            except StylizeError as error:
                if self._connection.is_closed:
                    raise
                problem = error.message
            else:
                if info.is_ready:
                    return info
            time.sleep(_POLL_S)
        raise ServerUnavailableError("UNAVAILABLE", f"{self.target} was not ready after {timeout_s:g} s: {problem}")

    def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
