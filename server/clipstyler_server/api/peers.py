"""Calls to other servers of the same database: they have the frames of the jobs that they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from clipstyler_server.api.authentication import PEER_HEADER
from clipstyler_server.api.codec.values import stylization_name
from clipstyler_server.errors import Reason, ServiceError, error
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.jobs.job_errors import draining_error
from clipstyler_server.settings import MAX_MESSAGE_BYTES, Settings
from clipstyler_server.storage.leases import Front

_WINDOW_BYTES = 64 * 1024
_KEEPALIVE_MS = 10_000


class Peers:
    """Channels to other servers, opened when they are used.

    Parameters
    ----------
    settings
        Which certificates are trusted.
    identity
        The certificate that this server shows, if it serves with TLS.

    Attributes
    ----------
    closed
        Whether it is closed.
    """

    def __init__(self, settings: Settings, identity: IdentityFiles) -> None:
        self._settings = settings
        self._identity = identity
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.closed = False

    async def watch(self, front: Front, job_id: str, after: int) -> AsyncGenerator[pb.WatchStylizationResponse, None]:
        """Stream what another server publishes of a job; ends early, without an error, if that server is lost."""
        asked = pb.WatchStylizationRequest(name=stylization_name(job_id), after_sequence=after)
        call = self._stub(front).WatchStylization(asked, metadata=_key_of(front))
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError:
            return  # the caller looks again where the job is
        except asyncio.CancelledError:
            if not self.closed:
                raise
        finally:
            call.cancel()

    async def image(
        self, front: Front, request: pb.GetStylizationImageRequest
    ) -> AsyncGenerator[pb.GetStylizationImageResponse, None]:
        """Stream an image that another server has.

        Raises
        ------
        ServiceError
            IMAGE_NOT_FOUND: it has none; DRAINING: this server was closed meanwhile.
        """
        try:
            async for response in self._stub(front).GetStylizationImage(request, metadata=_key_of(front)):
                yield response
        except grpc.aio.AioRpcError:
            raise _no_image(request.name) from None
        except asyncio.CancelledError:
            if not self.closed:
                raise
            raise draining_error() from None

    async def close(self) -> None:
        """End all calls, and close all channels."""
        self.closed = True
        for channel in self._channels.values():
            await channel.close()

    def _stub(self, front: Front) -> Any:
        channel = self._channels.get(front.address)
        if channel is None:
            channel = self._channels[front.address] = self._open(front.address)
        return StylizationServiceStub(channel)

    def _open(self, address: str) -> grpc.aio.Channel:
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.http2.bdp_probe", 0),
            # A slow reader here is a slow reader there: nothing piles up in between.
            ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ]
        certificates = self._identity.certificates
        if certificates is None:
            return grpc.aio.insecure_channel(address, options)
        if name := self._settings.peer_name:
            options.append(("grpc.ssl_target_name_override", name))
        trusted = Path(self._settings.peer_ca).read_bytes() if self._settings.peer_ca else None
        credentials = grpc.ssl_channel_credentials(trusted, certificates.key, certificates.chain)
        return grpc.aio.secure_channel(address, credentials, options)


def _key_of(front: Front) -> tuple[tuple[str, str], ...]:
    return ((PEER_HEADER, front.key),)


def _no_image(name: str) -> ServiceError:
    return error(Reason.IMAGE_NOT_FOUND, "{name} has no preview: there is one while it runs", name=name)
