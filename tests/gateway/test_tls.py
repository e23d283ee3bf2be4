"""The gateway's own certificate: every protocol is encrypted, and other machines are not served without."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from clipstyler_cli.envoy_config import CERTIFICATE_NAME, GatewayConfig
from clipstyler_cli.envoy_process import Envoy, running
from clipstyler_cli.envoy_tls import ListenerTls, UpstreamTls
from clipstyler_cli.main import app
from clipstyler_client import Client, tls_credentials
from typer.testing import CliRunner, Result

from clipstyler.v1.server_service_pb2 import GetServerInfoRequest
from tests.gateway.http_calls import SERVER, grpc_web
from tests.gateway.test_command import started, validate
from tests.service.certificates import Authority

INFO = f"/{SERVER}/GetServerInfo"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Path:
    """The gateway's certificate, and its authority's."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "ca.pem").write_bytes(authority.pem)
    authority.issue_server().write(folder, "gateway")
    return folder


@pytest.fixture(scope="module")
def tls(folder: Path) -> ListenerTls:
    return ListenerTls(folder / "gateway.pem", folder / "gateway.key")


@pytest.fixture(scope="module")
def gateway(target: str, tls: ListenerTls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    page = tmp_path_factory.mktemp("page")
    (page / "index.html").write_text("<p>live</p>")
    with running(GatewayConfig(port=0, servers=(target,), page=page, tls=tls)) as gateway:
        yield gateway


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def address(gateway: Envoy) -> tuple[str, int]:
    host, _, port = gateway.address.removeprefix("https://").rpartition(":")
    return host, int(port)


def shown_certificate(gateway: Envoy, protocols: tuple[str, ...] = ("h2",)) -> tuple[bytes, str | None]:
    """The certificate of a new connection, and the protocol that was agreed on."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(list(protocols))
    with socket.create_connection(address(gateway), 5) as plain, context.wrap_socket(plain) as encrypted:
        return encrypted.getpeercert(binary_form=True), encrypted.selected_alpn_protocol()


async def test_every_protocol_and_the_page_are_encrypted(gateway, folder):
    assert gateway.address.startswith("https://")
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=folder / "ca.pem"))
    async with aiohttp.ClientSession(connector=trusting) as session:
        async with session.post(gateway.address + INFO, data="{}") as got:
            assert (await got.json())["serverInfo"]["queue"]["capacity"] == 200
        web = await grpc_web(session, gateway.address, INFO[1:], GetServerInfoRequest(), origin=gateway.address)
        assert web.status == "0"
        async with session.get(gateway.address) as got:
            assert await got.text() == "<p>live</p>"


def test_a_client_believes_the_gateways_certificate(gateway, folder):
    with Client("{}:{}".format(*address(gateway)), tls_credentials(folder / "ca.pem")) as client:
        assert client.server_info().is_ready


def test_browsers_get_http2_and_others_what_they_speak(gateway):
    assert shown_certificate(gateway, ("h2", "http/1.1"))[1] == "h2"
    assert shown_certificate(gateway, ("http/1.1",))[1] == "http/1.1"


async def test_nothing_is_answered_without_encryption(gateway, session):
    with pytest.raises(aiohttp.ClientError):
        await session.get(gateway.address.replace("https", "http"))
    channel = grpc.aio.insecure_channel("{}:{}".format(*address(gateway)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(INFO)(b"", timeout=5)
    await channel.close()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_served_without_a_restart(target, authority, tmp_path):
    first = authority.issue_server().write(tmp_path, "gateway")
    with running(GatewayConfig(port=0, servers=(target,), tls=ListenerTls(*first))) as gateway:
        before, _ = shown_certificate(gateway)
        authority.issue_server().write(tmp_path, "gateway")
        async with asyncio.timeout(20):
            while shown_certificate(gateway)[0] == before:
                await asyncio.sleep(0.1)


async def test_a_certificate_that_kubernetes_mounts_is_followed(target, authority, tmp_path):
    """Its files are links into a folder that is a link itself, which is replaced."""

    def mount(version: str) -> None:
        (tmp_path / version).mkdir()
        authority.issue_server().write(tmp_path / version, "tls")
        (tmp_path / "..new").symlink_to(version)
        (tmp_path / "..new").replace(tmp_path / "..data")

    mount("..1")
    files = (tmp_path / "tls.pem", tmp_path / "tls.key")
    for file in files:
        file.symlink_to(f"..data/{file.name}")
    with running(GatewayConfig(port=0, servers=(target,), tls=ListenerTls(*files))) as gateway:
        before, _ = shown_certificate(gateway)
        mount("..2")
        async with asyncio.timeout(20):
            while shown_certificate(gateway)[0] == before:
                await asyncio.sleep(0.1)


def test_envoy_accepts_a_configuration_with_certificates(tls, tmp_path):
    upstream = UpstreamTls(tls.certificate, tls.certificate, tls.key)
    validate(GatewayConfig(upstream_tls=upstream, tls=tls).write(tmp_path))
    assert str(tls.certificate) in (tmp_path / CERTIFICATE_NAME).read_text()


def test_the_command_serves_by_tls(target, tls, folder):
    flags = ("--listen-tls-cert", str(tls.certificate), "--listen-tls-key", str(tls.key))
    with (
        started("--server", target, *flags, scheme="https") as (_, address, _),
        Client(address, tls_credentials(folder / "ca.pem")) as client,
    ):
        assert client.server_info().is_ready


@pytest.mark.parametrize("command", ["gateway", "live"])
@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"])
def test_other_machines_are_not_served_without_tls(command, listen):
    outcome = call(command, "--listen", listen)
    assert outcome.exit_code == 2
    assert "can be reached from other machines, and there is no TLS" in outcome.output
    assert "set --listen-tls-cert and --listen-tls-key" in outcome.output
    assert "--insecure" in outcome.output


def test_the_live_page_names_all_that_it_cannot_use_at_once():
    outcome = call("live", "--listen", "here", "--listen-tls-key", "x.key", "--allow-origin", "a")
    assert outcome.exit_code == 2
    for problem in ("--listen: 'here'", "--listen-tls-cert and --listen-tls-key", "--allow-origin: 'a'"):
        assert problem in outcome.output


def test_an_operator_may_insist(tmp_path, tls):
    assert call("gateway", "--listen", "0.0.0.0:80", "--write", tmp_path).exit_code == 2
    assert call("gateway", "--listen", "0.0.0.0:80", "--write", tmp_path, "--insecure").exit_code == 0
    flags = ("--listen-tls-cert", tls.certificate, "--listen-tls-key", tls.key)
    assert call("gateway", "--listen", "0.0.0.0:443", "--write", tmp_path, *flags).exit_code == 0
    assert call("gateway", "--listen", "localhost:80", "--write", tmp_path).exit_code == 0


def test_certificates_that_cannot_be_used_are_named(target, tls, folder, tmp_path, authority):
    def problem(certificate: object, key: object) -> str:
        flags = [*(("--listen-tls-cert", certificate) if certificate else ())]
        flags += [*(("--listen-tls-key", key) if key else ())]
        outcome = call("gateway", "--server", target, "--listen", "127.0.0.1:0", *flags)
        assert outcome.exit_code == 2, outcome.output
        return outcome.output

    _, other = authority.issue_server().write(tmp_path, "other")
    assert "go together: name both" in problem(tls.certificate, None)
    assert "go together: name both" in problem(None, tls.key)
    assert "cannot be read" in problem(tls.certificate, folder / "missing.key")
    assert "are no certificate and its private key" in problem(tls.certificate, other)
    other.chmod(0o644)
    assert "others must not read or change it" in problem(tls.certificate, other)


def test_the_page_of_the_gateways_own_address_may_call(tls):
    assert '"https://192.0.2.1:8443"' in GatewayConfig("192.0.2.1", 8443, tls=tls).render()
    assert '"https://[2001:db8::1]"' in GatewayConfig("2001:db8::1", 443, tls=tls).render()
    assert '"http://192.0.2.1"' in GatewayConfig("192.0.2.1", 80).render()
    assert "0.0.0.0:443" not in GatewayConfig("0.0.0.0", 443, tls=tls).render()


async def test_a_server_is_called_by_its_name(authority, tmp_path):
    """A proxy in front of a server may choose it by the name in the handshake."""
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue_server().write(tmp_path, "server"))
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    config = GatewayConfig(port=0, servers=(f"localhost:{port}",), upstream_tls=UpstreamTls(tmp_path / "ca.pem"))
    with running(config):
        async with asyncio.timeout(20):
            while "localhost" not in names:
                await asyncio.sleep(0.05)
    server.close()
