"""The sample of nginx with TLS, in front of the gateway; skipped where nginx is not installed."""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.envoy_process import running
from grpc_status import rpc_status

from clipstyler.v1 import server_service_pb2, style_service_pb2_grpc, stylization_service_pb2_grpc
from clipstyler.v1 import style_service_pb2 as styles
from clipstyler.v1 import stylization_service_pb2 as pb
from tests.conformance.photos import photo_named
from tests.gateway.http_calls import SERVER, STYLIZATION, grpc_web
from tests.service.harness import reason, request
from tests.service.turns import Turns

SAMPLE = Path(__file__).parents[2] / "deploy" / "nginx" / "clipstyler.conf"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
NAME, ORIGIN = "style.example.org", "https://style.example.org"
MAIN = """
daemon off;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/clipstyler.conf;
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def certify(folder: Path) -> Path:
    """A certificate for the sample's name that signs itself."""
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate


def placed(folder: Path, gateway: str, port: int) -> None:
    """The sample with this test's addresses and certificate; everything else stays."""
    text = SAMPLE.read_text().replace("127.0.0.1:8080", gateway).replace("/etc/ssl/clipstyler", str(folder))
    text = re.sub(r"\n *listen \[::\]:443[^\n]*", "", text).replace("listen 443", f"listen 127.0.0.1:{port}")
    (folder / "clipstyler.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))


@contextmanager
def proxied(folder: Path, server: str) -> Iterator[tuple[int, Path]]:
    """Run nginx in front of a gateway in front of a server; gives nginx's port and certificate."""
    certificate, port = certify(folder), free_port()
    config = GatewayConfig(port=0, servers=(server,), origins=(ORIGIN,), trusted_hops=1)
    with running(config) as gateway:
        placed(folder, gateway.address.removeprefix("http://"), port)
        process = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-p", folder, "-e", "stderr"])
        try:
            _wait_for(port)
            yield port, certificate
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nginx did not start")


def trusting(certificate: Path) -> aiohttp.ClientSession:
    """A session that trusts the certificate, whose name is the sample's."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


@pytest.fixture(scope="module")
def tls(target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    with proxied(tmp_path_factory.mktemp("nginx"), target) as running_nginx:
        yield running_nginx


@pytest.fixture
def channel(tls) -> Iterator[grpc.Channel]:
    port, certificate = tls
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    options = [("grpc.ssl_target_name_override", NAME)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        yield channel


def test_grpc_with_a_large_photo_over_tls(channel):
    stub = stylization_service_pb2_grpc.StylizationServiceStub(channel)
    events = [response.event for response in stub.Stylize(request("step=0.05 x", image=photo_named("large")))]
    assert (events[-1].result.result.image.width_px, events[-1].result.result.image.height_px) == (64, 64)


def test_the_photos_of_a_call_have_more_bytes_than_a_request_over_tls(channel):
    stub = style_service_pb2_grpc.StyleServiceStub(channel)
    style = stub.ListStyles(styles.ListStylesRequest()).styles[0].name
    photos = [styles.ApplyStyleRequest(photo=styles.StylePhoto(image=bytes(8 * 2**20)))] * 4
    application = styles.ApplyStyleRequest(application=styles.StyleApplication(style=style))
    answers = [(part.photo_index, part.error.reason) for part in stub.ApplyStyle(iter([application, *photos]))]
    assert sorted(answers) == [(number, "INVALID_FIELD") for number in range(4)]


def test_errors_keep_their_details_over_tls(channel):
    stub = stylization_service_pb2_grpc.StylizationServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetStylization(pb.GetStylizationRequest(name="stylizations/00000000-0000-4000-8000-000000000000"))
    assert reason(rpc_status.from_call(caught.value)) == "STYLIZATION_NOT_FOUND"


async def test_grpc_web_over_tls(tls, tmp_path):
    port, certificate = tls
    url, turns = f"https://127.0.0.1:{port}", Turns(tmp_path)

    def received(message: bytes) -> None:
        turns.follow(pb.StylizeResponse.FromString(message).event)

    asked = request(f"turns={turns.path} x")
    async with asyncio.timeout(60), trusting(certificate) as session:
        response = await grpc_web(session, url, f"{STYLIZATION}/Stylize", asked, received, origin=ORIGIN)
    events = [pb.StylizeResponse.FromString(message).event for message in response.messages]
    assert response.status == "0"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert [event.progress.step for event in events if event.HasField("progress")] == [1, 2, 3]


async def test_json_over_tls(tls):
    port, certificate = tls
    url = f"https://127.0.0.1:{port}"
    async with trusting(certificate) as session:
        async with session.post(f"{url}/{SERVER}/GetServerInfo", json={}) as got:
            assert (await got.json())["serverInfo"]["queue"]["capacity"] == 200
        photo = base64.b64encode(photo_named("large")).decode()
        body = {"spec": {"image": photo, "styleText": "", "options": {"steps": 1}}}
        async with session.post(f"{url}/{STYLIZATION}/CreateStylization", json=body) as got:
            error = await got.json()
    assert (got.status, error["code"]) == (400, 3)
    assert error["details"][1]["fieldViolations"][0]["field"] == "spec.style_text"


async def test_the_callers_address_is_that_of_the_connection(showing, tmp_path):
    with proxied(tmp_path, showing.target) as (port, certificate):
        forged = {"x-forwarded-for": "203.0.113.9", "x-clipstyler-client": "somebody else"}
        async with trusting(certificate) as session:
            info = server_service_pb2.GetServerInfoRequest()
            await grpc_web(session, f"https://127.0.0.1:{port}", f"{SERVER}/GetServerInfo", info, **forged)
    assert showing.names == [["127.0.0.1"]]
