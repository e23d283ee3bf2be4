"""Credentials pass through the gateway, and its way to the servers can be encrypted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from clipstyler_cli.connection import Target
from clipstyler_cli.envoy_config import GatewayConfig, GatewayConfigError, UpstreamTls
from clipstyler_cli.envoy_process import check_server, running
from clipstyler_client import ServerUnavailableError

from clipstyler.v1.server_service_pb2 import GetServerInfoRequest
from tests.clients.scripted_server import ScriptedServer, serving
from tests.gateway.http_calls import SERVER, grpc_web
from tests.service.certificates import Authority

INFO = f"/{SERVER}/GetServerInfo"
TOKEN = "Bearer clipstyler_0123456789ab_secret"
ORIGIN = "http://localhost:3000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server and the gateway, of their authority, and of a foreign one."""
    folder, authority = tmp_path_factory.mktemp("certificates"), Authority()
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "foreign.pem").write_bytes(Authority().pem)
    authority.issue_server().write(folder, "server")
    authority.issue("a gateway").write(folder, "gateway")
    return folder


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[ScriptedServer]:
    """A server that asks for a certificate."""
    key, chain, ca = ((folder / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    with serving(credentials=grpc.ssl_server_credentials([(key, chain)], ca, True)) as server:
        yield server


def upstream(folder: Path, ca: str = "ca.pem") -> UpstreamTls:
    return UpstreamTls(folder / ca, folder / "gateway.pem", folder / "gateway.key")


async def test_the_token_arrives_over_tls_from_every_protocol(secure, folder, session):
    with running(GatewayConfig(port=0, servers=(secure.target,), upstream_tls=upstream(folder))) as gateway:
        secure.authorizations.clear()
        async with session.post(gateway.address + INFO, data="{}", headers={"authorization": TOKEN}) as response:
            assert (response.status, (await response.json())["serverInfo"]["caller"]["tenant"]) == (200, "studio")
        web = await grpc_web(session, gateway.address, INFO[1:], GetServerInfoRequest(), authorization=TOKEN)
        assert web.status == "0"
        async with grpc.aio.insecure_channel(gateway.address.removeprefix("http://")) as channel:
            await channel.unary_unary(INFO)(b"", metadata=[("authorization", TOKEN)], timeout=10)
        assert secure.authorizations == [TOKEN] * 3


async def test_pages_may_send_a_token(secure, folder, session):
    with running(GatewayConfig(port=0, servers=(secure.target,), upstream_tls=upstream(folder))) as gateway:
        asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
        asked["access-control-request-headers"] = "authorization"
        async with session.options(gateway.address + INFO, headers=asked) as response:
            assert "authorization" in response.headers["access-control-allow-headers"]


async def test_a_server_of_a_foreign_authority_gets_no_token(secure, folder, session):
    secure.authorizations.clear()
    config = GatewayConfig(port=0, servers=(secure.target,), upstream_tls=upstream(folder, "foreign.pem"))
    with running(config) as gateway:
        async with session.post(gateway.address + INFO, data="{}", headers={"authorization": TOKEN}) as response:
            assert response.status == 503
    assert secure.authorizations == []


async def test_a_certificate_of_another_name_is_not_believed(folder, session, tmp_path):
    authority = Authority()
    other = authority.issue("elsewhere.example")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with serving(credentials=grpc.ssl_server_credentials([(other.key, other.chain)])) as server:
        config = GatewayConfig(port=0, servers=(server.target,), upstream_tls=UpstreamTls(tmp_path / "ca.pem"))
        with running(config) as gateway:
            async with session.post(gateway.address + INFO, data="{}") as response:
                assert response.status == 503


def test_the_gateway_waits_for_its_servers_over_tls(secure, folder):
    files = {"tls_ca": folder / "ca.pem", "tls_cert": folder / "gateway.pem", "tls_key": folder / "gateway.key"}
    assert "4 of 16 places" in check_server(Target(secure.target, **files), 5)
    with pytest.raises(ServerUnavailableError):
        check_server(Target(secure.target), 0.5)


async def test_a_server_that_asks_for_credentials_has_answered():
    class Asking(ScriptedServer):
        def GetServerInfo(self, _request, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    with serving(kind=Asking) as server:
        assert await asyncio.to_thread(check_server, Target(server.target), 5) == ""


def test_a_certificate_needs_its_key(folder):
    with pytest.raises(GatewayConfigError, match="go together"):
        GatewayConfig(upstream_tls=UpstreamTls(certificate=folder / "gateway.pem")).render()
