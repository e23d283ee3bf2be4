"""Who may call from a browser, what the page sees, and what the server is told of its caller."""

from __future__ import annotations

import asyncio
import base64
import gzip
import uuid

import aiohttp
import pytest
from clipstyler_cli.envoy_config import ANY_ORIGIN, GatewayConfig
from clipstyler_cli.envoy_process import running

from clipstyler.v1 import server_service_pb2
from tests.conformance.photos import photo_named
from tests.gateway.http_calls import SERVER, STYLIZATION, grpc_web

INFO = server_service_pb2.GetServerInfoRequest()
METHOD = f"{SERVER}/GetServerInfo"


def preflight(origin: str) -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web,connect-protocol-version",
    }


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:8080", "https://[::1]"])
async def test_pages_on_this_machine_may_call(session, url, origin):
    async with session.options(f"{url}/{METHOD}", headers=preflight(origin)) as got:
        assert (got.status, got.headers["access-control-allow-origin"]) == (200, origin)
        assert "POST" in got.headers["access-control-allow-methods"]
        allowed = got.headers["access-control-allow-headers"].split(", ")
    assert {"content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", "connect-protocol-version"} <= set(allowed)
    response = await grpc_web(session, url, METHOD, INFO, origin=origin)
    assert response.status == "0"
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"} <= set(exposed)


@pytest.mark.parametrize("origin", ["https://example.org", "http://localhost.example.org", "null"])
async def test_other_pages_may_not_not_even_without_asking(session, url, origin):
    async with session.options(f"{url}/{METHOD}", headers=preflight(origin)) as got:
        assert "access-control-allow-origin" not in got.headers
    headers = {"origin": origin, "content-type": "text/plain"}
    async with session.post(f"{url}/{METHOD}", data="{}", headers=headers) as got:
        assert got.status == 403


@pytest.mark.parametrize(("allowed", "refused"), [(("https://a.example",), "https://b.example"), ((ANY_ORIGIN,), None)])
async def test_origins_that_the_operator_allows_may_call(session, target, allowed, refused):
    with running(GatewayConfig(port=0, servers=(target,), origins=allowed)) as gateway:
        async with session.post(f"{gateway.address}/{METHOD}", json={}, headers={"origin": "https://a.example"}) as got:
            assert (got.status, got.headers["access-control-allow-origin"]) == (200, "https://a.example")
        if refused:
            async with session.post(f"{gateway.address}/{METHOD}", json={}, headers={"origin": refused}) as got:
                assert got.status == 403


async def test_callers_do_not_choose_their_identity(session, showing, showing_url):
    forged = {"x-clipstyler-client": "somebody else"}
    async with session.post(f"{showing_url}/{METHOD}", json={}, headers=forged) as got:
        assert got.status == 200
    await grpc_web(session, showing_url, METHOD, INFO, **forged)
    assert showing.names == showing.forwarded == [["127.0.0.1"]] * 2


async def test_a_trusted_proxy_reports_the_address(session, showing, showing_url):
    reported = {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}  # the last one is what the proxy saw
    async with session.post(f"{showing_url}/{METHOD}", json={}, headers=reported) as got:
        assert got.status == 200
    assert showing.names == showing.forwarded == [["198.51.100.7"]]


async def test_without_a_trusted_proxy_no_header_reports_the_address(session, showing):
    with running(GatewayConfig(port=0, servers=(showing.target,))) as gateway:
        async with session.post(f"{gateway.address}/{METHOD}", json={}, headers={"x-forwarded-for": "1.2.3.4"}) as got:
            assert got.status == 200
    assert showing.names == showing.forwarded == [["127.0.0.1"]]


async def create(session: aiohttp.ClientSession, url: str, text: str, **headers: str) -> tuple[int, dict]:
    spec = {"image": base64.b64encode(photo_named("small")).decode(), "styleText": text}
    body = {"spec": spec | {"options": {"size": 64, "steps": 1, "patches": 2}}}
    async with session.post(f"{url}/{STYLIZATION}/CreateStylization", json=body, headers=headers) as got:
        return got.status, await got.json()


async def test_a_server_that_trusts_the_gateway_bounds_each_of_its_callers(servers):
    url, gate = servers.gateway("sharing"), str(uuid.uuid4())
    async with calling_from("127.0.0.2") as one, calling_from("127.0.0.3") as other:
        assert (await create(one, url, f"at=1 hold={gate} runs"))[0] == 200
        await started(one, url)
        assert (await create(one, url, "waits"))[0] == 200
        status, error = await create(one, url, "is one too many", **{"x-forwarded-for": "9.9.9.9"})
        assert (status, error["details"][0]["metadata"]["capacity"]) == (429, "1")
        assert (await create(other, url, "has a place of its own"))[0] == 200
    servers.open_gate(gate)


def calling_from(address: str) -> aiohttp.ClientSession:
    """A session of another caller of this machine."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0)))


async def started(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            async with session.post(f"{url}/{METHOD}", json={}) as got:
                if (await got.json())["serverInfo"]["queue"].get("runningCount"):
                    return


async def test_deadlines_reach_the_server(session, showing, showing_url):
    async with session.post(f"{showing_url}/{METHOD}", json={}, headers={"grpc-timeout": "50S"}) as got:
        assert got.status == 200
    await grpc_web(session, showing_url, METHOD, INFO, **{"grpc-timeout": "50S"})
    assert all(40 < left_s <= 50 for left_s in showing.left_s)


async def test_request_ids_are_kept_or_drawn(session, url):
    own = str(uuid.uuid4())
    async with session.post(f"{url}/{METHOD}", json={}, headers={"x-request-id": own}) as got:
        assert got.headers.getall("x-request-id") == [own]
    async with session.post(f"{url}/{METHOD}", json={}) as got:
        assert uuid.UUID(got.headers["x-request-id"])


async def test_the_page_is_served(session, target, page):
    with running(GatewayConfig(port=0, servers=(target,), page=page)) as gateway:
        async with session.get(f"{gateway.address}/") as got:
            assert (got.status, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert await got.text() == (page / "index.html").read_text()
            assert got.headers["cache-control"] == "no-cache"
            assert "default-src 'self'" in got.headers["content-security-policy"]
        async with session.get(f"{gateway.address}/assets/app-1a2b.js", auto_decompress=False) as got:
            assert got.headers["content-type"] == "text/javascript; charset=utf-8"
            assert "immutable" in got.headers["cache-control"]
        headers = {"accept-encoding": "gzip"}
        url = f"{gateway.address}/assets/app-1a2b.js"
        async with session.request("GET", url, headers=headers, auto_decompress=False) as got:
            assert got.headers["content-encoding"] == "gzip"
            assert gzip.decompress(await got.read()) == (page / "assets" / "app-1a2b.js").read_bytes()
        async with session.get(f"{gateway.address}/../../etc/passwd") as got:
            assert got.status == 404
        async with session.post(f"{gateway.address}/{METHOD}", json={}) as got:
            assert got.status == 200


async def test_without_a_page_the_root_says_where_to_call(session, url):
    async with session.get(f"{url}/") as got:
        assert got.status == 404
        assert METHOD in await got.text()
