"""Calls to other servers of the same database: they have the frames of the jobs that they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from clipstyler_server.api.authentication import PEER_HEADER
from clipstyler_server.api.codec.values import stylization_name
from clipstyler_server.errors import Reason, ServiceError, error
from clipstyler_server.identity.certificates import Certificates, read_authorities
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.identity.private_files import IdentityError
from clipstyler_server.jobs.job_errors import draining_error
from clipstyler_server.observability import logs
from clipstyler_server.settings import MAX_MESSAGE_BYTES, Settings
from clipstyler_server.storage.leases import Front

_WINDOW_BYTES = 64 * 1024
_KEEPALIVE_MS = 10_000


@dataclass(eq=False)
class _Link:
    """A channel, the certificate that it shows, and how many calls use it."""

    address: str
    certificates: Certificates | None
    channel: grpc.aio.Channel
    calls: int = 0


class Peers:
    """Channels to other servers, opened when they are used.

    gRPC reads a certificate once for each channel: one that shows a former certificate is closed after its last call.

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

    Raises
    ------
    IdentityError
        The authorities of the others' certificates cannot be read.
    """

    def __init__(self, settings: Settings, identity: IdentityFiles) -> None:
        self._settings = settings
        self._identity = identity
        self._authorities = read_authorities(Path(settings.peer_ca)) if settings.peer_ca else None
        self._links: list[_Link] = []
        self.closed = False

    async def watch(self, front: Front, job_id: str, after: int) -> AsyncGenerator[pb.WatchStylizationResponse, None]:
        """Stream what another server publishes of a job; ends early, without an error, if that server is lost."""
        asked = pb.WatchStylizationRequest(name=stylization_name(job_id), after_sequence=after)
        async with self._stub(front) as stub:
            call = stub.WatchStylization(asked, metadata=_key_of(front))
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
            async with self._stub(front) as stub:
                async for response in stub.GetStylizationImage(request, metadata=_key_of(front)):
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
        for link in self._links:
            await link.channel.close()

    @asynccontextmanager
    async def _stub(self, front: Front) -> AsyncIterator[Any]:
        """Lend a stub whose channel shows the certificate of now."""
        link = self._link(front.address, self._identity.certificates)
        link.calls += 1
        try:
            yield StylizationServiceStub(link.channel)
        finally:
            link.calls -= 1
            await self._close_former()

    def _link(self, address: str, certificates: Certificates | None) -> _Link:
        for link in self._links:
            if link.address == address and link.certificates is certificates:
                return link
        self._links.append(_Link(address, certificates, self._open(address, certificates)))
        return self._links[-1]

    async def _close_former(self) -> None:
        now = self._identity.certificates
        former = [link for link in self._links if link.certificates is not now and not link.calls]
        for link in former:
            self._links.remove(link)
            await link.channel.close()

    def _open(self, address: str, certificates: Certificates | None) -> grpc.aio.Channel:
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.http2.bdp_probe", 0),
            # A slow reader here is a slow reader there: nothing piles up in between.
            ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ]
        if certificates is None:
            return grpc.aio.insecure_channel(address, options)
        if name := self._settings.peer_name:
            options.append(("grpc.ssl_target_name_override", name))
        credentials = grpc.ssl_channel_credentials(self._trusted(), certificates.key, certificates.chain)
        return grpc.aio.secure_channel(address, credentials, options)

    def _trusted(self) -> bytes | None:
        """Read the authorities again; those of before stay if that fails. None for those that gRPC trusts."""
        if path := self._settings.peer_ca:
            try:
                self._authorities = read_authorities(Path(path))
            except IdentityError as error:
                logs.get_logger().error("identity_not_reloaded", files=[path], problem=str(error))
        return self._authorities


def _key_of(front: Front) -> tuple[tuple[str, str], ...]:
    return ((PEER_HEADER, front.key),)


def _no_image(name: str) -> ServiceError:
    return error(Reason.IMAGE_NOT_FOUND, "{name} has no preview: there is one while it runs", name=name)
