"""Calls to other servers show the certificate of the day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from clipstyler_server.api.peers import Peers
from clipstyler_server.storage.leases import Front

from clipstyler.v1.event_pb2 import StylizationEvent
from clipstyler.v1.stylization_service_pb2 import WatchStylizationResponse
from clipstyler.v1.stylization_service_pb2_grpc import (
    StylizationServiceServicer,
    add_StylizationServiceServicer_to_server,
)
from tests.service.certificates import Authority
from tests.service.harness import settings


class Naming(StylizationServiceServicer):
    """Sends events with the name in the caller's certificate, twice: the second time when it may."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def WatchStylization(self, request, context):
        (name,) = context.auth_context()["x509_common_name"]
        named = WatchStylizationResponse(event=StylizationEvent(stylization=name.decode()))
        yield named
        await self.may_end.wait()
        yield named


@pytest.mark.parametrize("broken", [None, Path.unlink, lambda file: file.write_text("no PEM")])
async def test_a_renewed_certificate_is_shown_at_once_and_ends_no_call(
    tmp_path: Path, broken: Callable[[Path], object] | None
) -> None:
    authority, server, service = Authority(), grpc.aio.server(), Naming()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    own = authority.issue_server()
    add_StylizationServiceServicer_to_server(service, server)
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(own.key, own.chain)], authority.pem, require_client_auth=True)
    )
    await server.start()
    identity = SimpleNamespace(certificates=authority.issue("first"))
    peers = Peers(settings(peer_ca=str(tmp_path / "ca.pem"), peer_name="localhost"), identity)
    front = Front("a front", "a server", f"127.0.0.1:{port}", "a key", 1)
    async with aclosing(peers.watch(front, "job", 0)) as old:
        assert (await anext(old)).event.stylization == "first"
        if broken:  # in the middle of a renewal
            broken(tmp_path / "ca.pem")
        identity.certificates = authority.issue("second")
        async with aclosing(peers.watch(front, "job", 0)) as new:
            assert (await anext(new)).event.stylization == "second"
        service.may_end.set()
        assert [response.event.stylization async for response in old] == ["first"]
    assert [link.certificates for link in peers._links] == [identity.certificates]
    await peers.close()
    await server.stop(None)
