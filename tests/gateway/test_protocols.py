"""Every protocol through the gateway, on a real server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time

import grpc
import pytest
from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.envoy_process import running
from clipstyler_client import AsyncClient, Client, InvalidRequestError, Progress, Result, StylizeError
from google.protobuf.json_format import ParseDict
from google.rpc import code_pb2, error_details_pb2, status_pb2

from clipstyler.v1 import server_service_pb2
from clipstyler.v1 import stylization_service_pb2 as pb
from tests.conformance.photos import photo_named
from tests.gateway.http_calls import SERVER, STYLIZATION, frames, grpc_web, last_line
from tests.service.harness import request
from tests.service.turns import Turns

INFO = server_service_pb2.GetServerInfoRequest()
NOBODY = pb.GetStylizationRequest(name="stylizations/00000000-0000-4000-8000-000000000000")


def host(url: str) -> str:
    return url.removeprefix("http://")


def test_grpc_streams_through_the_gateway(url):
    with Client(host(url)) as client:
        events = list(client.stylize(photo_named("small"), "step=0.05 x", size=64, steps=3, patches=2))
        assert isinstance(events[-1], Result)
        assert [event.step for event in events if isinstance(event, Progress)][-1] == 3
        with pytest.raises(InvalidRequestError) as caught:
            client.stylize(b"no photo", "", steps=0).result()
    assert {violation.field for violation in caught.value.violations} == {
        "spec.image",
        "spec.options.steps",
        "spec.style_text",
    }


async def test_grpc_web_unary(session, url):
    response = await grpc_web(session, url, f"{SERVER}/GetServerInfo", INFO)
    assert response.status == "0"
    (message,) = response.messages
    assert server_service_pb2.GetServerInfoResponse.FromString(message).server_info.queue.capacity == 200


async def test_a_grpc_web_stream_arrives_as_it_is_made(session, url, tmp_path):
    turns = Turns(tmp_path)

    def received(message: bytes) -> None:
        turns.follow(pb.StylizeResponse.FromString(message).event)

    asked = request(f"turns={turns.path} x")
    async with asyncio.timeout(60):  # it would last for ever if a step were held back
        response = await grpc_web(session, url, f"{STYLIZATION}/Stylize", asked, received)
    events = [pb.StylizeResponse.FromString(message).event for message in response.messages]
    assert response.status == "0"
    assert events[-1].HasField("result")
    assert [event.progress.step for event in events if event.HasField("progress")] == [1, 2, 3]


async def test_grpc_web_errors_carry_their_details(session, url):
    response = await grpc_web(session, url, f"{STYLIZATION}/GetStylization", NOBODY)
    info = error_details_pb2.ErrorInfo()
    assert response.status == "5"
    assert response.details.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("STYLIZATION_NOT_FOUND", "clipstyler.dev")


async def test_connect_unary_in_binary(session, url):
    headers = {"content-type": "application/proto", "connect-protocol-version": "1"}
    async with session.post(f"{url}/{SERVER}/GetServerInfo", data=INFO.SerializeToString(), headers=headers) as got:
        assert (got.status, got.content_type) == (200, "application/proto")
        info = server_service_pb2.GetServerInfoResponse.FromString(await got.read()).server_info
    assert info.queue.capacity == 200
    async with session.post(
        f"{url}/{STYLIZATION}/GetStylization", data=NOBODY.SerializeToString(), headers=headers
    ) as got:
        error = await got.json()
    assert (got.status, error["code"]) == (404, "not_found")
    detail = error["details"][0]
    info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(detail["value"] + "=="))
    # The protocol wants the type without its prefix: a quirk of Envoy's bridge.
    assert (detail["type"], info.reason) == ("type.googleapis.com/google.rpc.ErrorInfo", "STYLIZATION_NOT_FOUND")


async def test_connect_stream_in_binary(session, url):
    body = request("step=0.05 x").SerializeToString()
    headers = {"content-type": "application/connect+proto", "connect-protocol-version": "1"}
    async with session.post(
        f"{url}/{STYLIZATION}/Stylize", data=b"\0" + len(body).to_bytes(4) + body, headers=headers
    ) as got:
        assert got.status == 200
        received = [(flags, data) async for flags, data in frames(got.content)]
    *messages, (flags, end) = received
    assert pb.StylizeResponse.FromString(messages[-1][1]).event.HasField("result")
    assert flags == 2
    assert "error" not in json.loads(end)


async def test_connect_unary_in_json(session, url):
    headers = {"connect-protocol-version": "1"}
    async with session.post(f"{url}/{SERVER}/GetServerInfo", json={}, headers=headers) as got:
        assert (await got.json())["serverInfo"]["queue"]["capacity"] == 200
    async with session.post(f"{url}/{STYLIZATION}/GetStylization", json={"name": NOBODY.name}, headers=headers) as got:
        assert got.status == 404


async def test_unknown_parameters_in_the_address_are_ignored_as_unknown_fields_are(session, url):
    async with session.post(f"{url}/{SERVER}/GetServerInfo?nothing=1", json={"nothing": 1}) as got:
        assert (await got.json())["serverInfo"]["queue"]["capacity"] == 200


async def test_json_lines_arrive_as_they_are_made(session, url, tmp_path):
    turns = Turns(tmp_path)
    spec = {"image": base64.b64encode(photo_named("small")).decode(), "styleText": f"turns={turns.path} x"}
    body = {"spec": spec | {"options": {"size": 64, "steps": 3, "patches": 2}}}
    events = []
    async with asyncio.timeout(60), session.post(f"{url}/{STYLIZATION}/Stylize", json=body) as got:
        assert (got.status, got.content_type) == (200, "application/json")
        async for line in got.content:
            events.append(ParseDict(json.loads(line), pb.StylizeResponse()).event)
            turns.follow(events[-1])
    assert [event.progress.step for event in events if event.HasField("progress")] == [1, 2, 3]


async def test_the_duration_of_a_stream_is_limited(session, target):
    with running(GatewayConfig(port=0, servers=(target,), max_stream_s=1)) as gateway:
        begun = time.monotonic()
        with pytest.raises(StylizeError) as caught:
            async with AsyncClient(host(gateway.address)) as client:
                await client.stylize(photo_named("small"), "step=0.1 x", size=64, steps=100, patches=2).result()
    assert 0.9 < time.monotonic() - begun < 8
    assert caught.value.code == "INTERNAL"  # Envoy resets the stream, and has no status to give


async def test_large_photos_come_through_inline(session, url):
    photo = photo_named("large")
    assert len(photo) > 15 * 2**20
    async with AsyncClient(host(url)) as client:
        by_grpc = await client.stylize(photo, "same", size=64, steps=1, patches=2, seed=1).result()
    asked = request("same", image=photo)
    asked.spec.options.steps = 1
    by_web = await grpc_web(session, url, f"{STYLIZATION}/Stylize", asked)
    spec = {"image": base64.b64encode(photo).decode(), "styleText": "same"}
    body = {"spec": spec | {"options": {"size": 64, "steps": 1, "patches": 2, "seed": 1}}}
    by_json = await last_line(session, f"{url}/{STYLIZATION}/Stylize", body)

    assert pb.StylizeResponse.FromString(by_web.messages[-1]).event.result.image_data == by_grpc.image
    assert base64.b64decode(by_json["event"]["result"]["imageData"]) == by_grpc.image


async def test_a_result_beyond_every_buffer_comes_through_as_json(session, url):
    spec = {"image": base64.b64encode(photo_named("small")).decode(), "styleText": "side=3200 x"}
    body = {"spec": spec | {"options": {"size": 64, "steps": 1, "patches": 2}, "previews": {"everySteps": 0}}}
    received = hashlib.sha256()
    size = 0
    async with session.post(f"{url}/{STYLIZATION}/Stylize", json=body) as got:
        async for line in got.content:
            event = json.loads(line)["event"]
            if "chunk" in event:
                data = base64.b64decode(event["chunk"]["data"])
                received.update(data)
                size += len(data)
    image = event["result"]["result"]["image"]
    assert size == int(image["sizeBytes"]) > 28 * 2**20
    assert received.digest() == base64.b64decode(image["sha256"])


@pytest.mark.parametrize(
    ("call", "status", "code", "message"),
    [
        (("POST", f"{STYLIZATION}/GetStylization", "{bad"), 400, code_pb2.INVALID_ARGUMENT, "Unexpected end of string"),
        (("POST", f"{STYLIZATION}/Stylize", '{"spec":{"image":"!"}}'), 400, code_pb2.INVALID_ARGUMENT, "spec.image: "),
        (("POST", f"{STYLIZATION}/Nothing", "{}"), 404, code_pb2.NOT_FOUND, "Could not resolve"),
        (("GET", f"{SERVER}/GetServerInfo", ""), 404, code_pb2.NOT_FOUND, "Could not resolve"),
        (("GET", "nothing", ""), 404, code_pb2.NOT_FOUND, "nothing is here"),
        (("POST", f"{STYLIZATION}/Stylize", "x" * 25 * 2**20), 413, code_pb2.RESOURCE_EXHAUSTED, "content length too"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
async def test_what_the_gateway_refuses_is_a_status_in_json(session, url, call, status, code, message, content_type):
    method, path, data = call
    headers = {"content-type": content_type}
    async with session.request(method, f"{url}/{path}", data=data, headers=headers) as got:
        refusal = ParseDict(await got.json(), status_pb2.Status())
        assert (got.status, refusal.code, refusal.message[: len(message)]) == (status, code, message)


async def test_a_server_that_is_away_is_a_status_in_json(session):
    with running(GatewayConfig(port=0, servers=("127.0.0.1:1",))) as gateway:
        async with session.post(f"{gateway.address}/{SERVER}/GetServerInfo", json={}) as got:
            refusal = ParseDict(await got.json(), status_pb2.Status())
            assert (got.status, refusal.code) == (503, code_pb2.UNAVAILABLE)


@pytest.mark.parametrize("content_type", ["application/json", "application/grpc-web+proto", "text/plain"])
async def test_a_request_that_would_fill_the_memory_is_refused(session, url, content_type):
    async def endless():
        yield b'{"spec":{"styleText":"'
        for _ in range(40):
            yield b"x" * 2**20

    headers = {"content-type": content_type}
    async with session.post(f"{url}/{STYLIZATION}/Stylize", data=endless(), headers=headers) as got:
        assert got.status == 413


async def test_health_and_reflection_are_reachable(url):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from tests.service.methods import ask_reflection

    async with grpc.aio.insecure_channel(host(url)) as channel:
        checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        listed = await ask_reflection(channel, "v1", list_services="")
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert STYLIZATION in [service.name for service in listed.list_services_response.service]


async def test_a_server_is_reached_by_a_name_of_several_addresses(session, target):
    named = f"localhost:{target.rpartition(':')[2]}"
    with running(GatewayConfig(port=0, servers=(named,))) as gateway:
        for _ in range(4):
            async with session.post(f"{gateway.address}/{SERVER}/GetServerInfo", json={}) as got:
                assert got.status == 200


async def test_readiness_follows_the_server(session, url, servers):
    async with session.get(f"{url}/readyz") as got:
        assert got.status == 200
    with running(GatewayConfig(port=0, servers=("127.0.0.1:9",))) as gateway:
        async with session.get(f"{gateway.address}/readyz") as got:
            assert got.status == 503
        response = await grpc_web(session, gateway.address, f"{SERVER}/GetServerInfo", INFO)
    assert response.status == "14"


def test_a_stream_longer_than_a_proxys_usual_timeout_is_not_cut(long_stream):
    took_s, web, lines, result = long_stream.outcome.result(60)
    assert took_s > 18
    assert web.status == "0"
    assert pb.WatchStylizationResponse.FromString(web.messages[-1]).event.result.image_data == result.image
    assert base64.b64decode(lines["event"]["result"]["imageData"]) == result.image
