"""Calls that are broken, unfinished, too many or never read: each is refused with a reason, and harms no other."""

from __future__ import annotations

import asyncio
import gc
import time

import grpc
import pytest
from clipstyler_server.api import stylization_service
from clipstyler_server.api.codec.requests import read_job
from clipstyler_server.api.server import ENCODER_SERVICE, SERVER_SERVICE, STYLE_SERVICE, STYLIZATION_SERVICE
from clipstyler_server.jobs.job_request import PhotoRequest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipstyler.v1 import stylization_service_pb2_grpc
from clipstyler.v1.stylization_service_pb2 import CancelStylizationRequest, GetStylizationRequest
from tests.service.harness import collect, eventually, noise_photo, order, photo, reason, refusal, request, status_of
from tests.service.methods import ask_reflection, listed_methods
from tests.service.relay import relayed

BROKEN = b"\x0a\xff\xff\xff\xff\x0f"
SERVICES = {STYLIZATION_SERVICE, STYLE_SERVICE, SERVER_SERVICE, ENCODER_SERVICE, "grpc.health.v1.Health"}


async def never():
    """Requests of a caller that sends none."""
    await asyncio.Event().wait()
    yield b""


async def reason_of(call: grpc.aio.Call) -> tuple[str, str]:
    """Code and reason of a call that has ended."""
    trailers = await call.trailing_metadata()
    code = await call.code()
    error = grpc.aio.AioRpcError(code, await call.initial_metadata(), trailers, await call.details())
    return code.name, reason(status_of(error))


async def test_a_request_that_is_no_message_is_refused_and_counted_by_every_method(server, log):
    methods = await listed_methods(server.channel)
    assert len(methods) > 15
    outcomes = {m.path: await reason_of(await m.outcome(server.channel, BROKEN, timeout=10)) for m in methods}
    without_evaluator = {path for path in outcomes if path.startswith(f"/{ENCODER_SERVICE}/")}

    for path, outcome in outcomes.items():
        if path in without_evaluator:
            assert outcome == ("UNIMPLEMENTED", "UNKNOWN_METHOD")
        else:
            assert outcome == ("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"), path
            # The server counts a call when it has ended, after its caller knows.
            await eventually(lambda path=path: server.calls(path, "INVALID_ARGUMENT") == 1)
    assert not [line for line in log if "exception" in line or "exc_info" in line]


@pytest.mark.parametrize("sent", ["nothing", "an empty stream"])
async def test_a_call_without_a_request_ends_in_time(serve, sent):
    server = await serve(receive_timeout_s=0.2 if sent == "nothing" else 5)
    expected = {
        "nothing": ("DEADLINE_EXCEEDED", "REQUEST_TIMEOUT"),
        "an empty stream": ("INVALID_ARGUMENT", "UNDECODABLE_REQUEST"),
    }[sent]
    for method in await listed_methods(server.channel):
        if method.path.startswith(f"/{ENCODER_SERVICE}/") or (method.takes_stream and sent != "nothing"):
            continue  # streams may be empty
        outcome = await method.outcome(server.channel, never() if sent == "nothing" else iter(()), timeout=10)
        assert await reason_of(outcome) == expected, method.path


async def test_half_a_request_is_given_up_in_time_and_its_bytes_are_given_back(serve):
    server = await serve(receive_timeout_s=0.3)
    async with relayed(server.app.grpc_address, most_bytes=200_000) as channel:
        stub = stylization_service_pb2_grpc.StylizationServiceStub(channel)
        begun = time.monotonic()
        status = await refusal(stub.CreateStylization(order(image=noise_photo(500, 500)), timeout=10))
    assert reason(status) == "REQUEST_TIMEOUT" or status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert time.monotonic() - begun < 5
    await eventually(lambda: server.app.api.bounds.photos.used == 0)


async def test_requests_that_stay_unfinished_leave_room_for_other_callers(serve):
    server = await serve(receive_timeout_s=60, max_image_bytes=2**20, max_incoming_bytes=4 * 2**20, caller_share=0.5)
    held = [server.channel.stream_unary(f"/{STYLIZATION_SERVICE}/CreateStylization")(never()) for _ in range(20)]
    await eventually(lambda: server.app.api.bounds.photos.used > 0)
    async with relayed(server.app.grpc_address) as channel:
        other = stylization_service_pb2_grpc.StylizationServiceStub(channel)
        await other.CreateStylization(order(), timeout=10)
    for unfinished in held:
        unfinished.cancel()
    await eventually(lambda: server.app.api.bounds.photos.used == 0)


async def test_a_refused_photo_is_not_held_until_the_next_garbage_collection(serve, gate):
    server = await serve(queue_capacity=0)
    await server.create(order(f"hold={gate} x"))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            status = await refusal(server.create(order(image=photo().ljust(2_000_000, b"\0"))))
            assert reason(status) == "QUEUE_FULL"
        held = [found for found in gc.get_objects() if isinstance(found, PhotoRequest) and len(found.image) > 1_000_000]
        assert held == []
    finally:
        gc.enable()
    gate.touch()


async def test_refused_calls_leave_no_frames_to_the_next_garbage_collection(server):
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert reason(await refusal(server.get("no name"))) == "INVALID_FIELD"
            assert reason((await server.watch("no name")).status) == "INVALID_FIELD"
        await eventually(lambda: not [found for found in gc.get_objects() if is_abort_with_frames(found)])
    finally:
        gc.enable()


def is_abort_with_frames(found: object) -> bool:
    return isinstance(found, grpc.aio.AbortError) and bool(found.__traceback__ or found.__context__)


async def test_unknown_fields_of_a_request_are_dropped(server, monkeypatch):
    sizes = []

    def read(received):
        sizes.append(received.ByteSize())
        return read_job(received)

    monkeypatch.setattr(stylization_service, "read_job", read)
    asked = order("with unknown fields")
    unknown = descriptor_pb2.UninterpretedOption(string_value=b"x" * 100_000).SerializeToString()
    call = server.channel.unary_unary(
        f"/{STYLIZATION_SERVICE}/CreateStylization",
        response_deserializer=lambda data: data,
    )
    answer = await call(asked.SerializeToString() + unknown)
    assert sizes == [asked.ByteSize()]
    assert len(answer) < 5_000
    (stored,) = server.app.storage.database.newest(1)
    assert len(repr(stored)) < 5_000


async def test_a_method_without_images_takes_small_requests_only(server):
    big = GetStylizationRequest(name="x" * 2_000_000)
    assert reason(await refusal(server.stub.GetStylization(big))) == "UNDECODABLE_REQUEST"


async def test_the_request_id_of_the_log_comes_back(server):
    asked = server.stub.GetStylization(GetStylizationRequest(name="x"), metadata=[("x-request-id", "mine-1")])
    with pytest.raises(grpc.aio.AioRpcError):
        await asked
    assert (await asked.trailing_metadata())["x-request-id"] == "mine-1"

    stream = server.stub.Stylize(request(), timeout=30)
    drawn = (await stream.initial_metadata())["x-request-id"]
    async for _ in stream:
        pass
    assert (await stream.trailing_metadata())["x-request-id"] == drawn

    unary = server.stub.CreateStylization(order())
    assert len((await unary.initial_metadata())["x-request-id"]) == 36
    await unary


async def test_too_many_calls_of_one_caller_are_refused_while_others_are_served(serve, gate):
    server = await serve(max_calls=8, caller_share=0.5)
    created = await server.create(order(f"hold={gate} x"))
    watches = [server.begin_watch(created.name) for _ in range(4)]
    await eventually(lambda: all(events for _, events, _ in watches))

    status = await refusal(server.stub.GetStylization(GetStylizationRequest(name=created.name)))
    assert reason(status) == "TOO_MANY_CALLS"
    async with relayed(server.app.grpc_address) as channel:
        other = stylization_service_pb2_grpc.StylizationServiceStub(channel)
        assert (await other.GetStylization(GetStylizationRequest(name=created.name))).stylization.name == created.name
    for call, _, _ in watches:
        call.cancel()
    await asyncio.gather(*(task for _, _, task in watches), return_exceptions=True)
    await eventually(lambda: server.app.api.bounds.calls.by_method.total() == 0)
    await server.stub.CancelStylization(CancelStylizationRequest(name=created.name))


async def test_a_call_that_is_not_read_in_time_ends_and_counts_until_its_caller_reads_or_leaves(serve):
    server = await serve(write_timeout_s=0.3)
    # A reader that takes in no more than it asks for, however fast the connection is.
    channel = grpc.aio.insecure_channel(server.app.grpc_address, [("grpc.http2.bdp_probe", 0)])
    stub = stylization_service_pb2_grpc.StylizationServiceStub(channel)
    calls = [stub.Stylize(request(f"side=1500 {number}"), timeout=60) for number in range(2)]
    reading, unread = (aiter(call) for call in calls)
    for responses in (reading, unread):
        await anext(responses)
    # Both results wait for their readers, longer than that is allowed.
    await eventually(lambda: server.metric("stylization_duration_seconds_count", outcome="succeeded") == 2)
    await asyncio.sleep(0.8)
    assert server.app.api.bounds.outgoing.used > 0
    outcome = await collect(reading)
    assert reason(outcome.status) == "SLOW_READER"
    assert "result" not in outcome.kinds()
    calls[1].cancel()
    await channel.close()
    await eventually(lambda: server.app.api.bounds.calls.by_method.total() == 0)
    assert server.app.api.bounds.outgoing.used == 0


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_every_service_and_method(server, version):
    listed = await ask_reflection(server.channel, version, list_services="")
    names = {service.name for service in listed.list_services_response.service}
    assert names == SERVICES | {f"grpc.reflection.{v}.ServerReflection" for v in ("v1", "v1alpha")}
    for symbol in [*names, f"{STYLIZATION_SERVICE}.Stylize", "grpc.health.v1.Health.Check", "clipstyler.v1.Error"]:
        answer = await ask_reflection(server.channel, version, file_containing_symbol=symbol)
        assert answer.file_descriptor_response.file_descriptor_proto, symbol
        assert answer.original_request.file_containing_symbol == symbol
    answer = await ask_reflection(server.channel, version, file_containing_symbol="clipstyler.v1.None")
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_health_lists_every_service(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    if not hasattr(stub, "List"):
        pytest.skip("this version of grpcio-health-checking has no List")
    listed = await stub.List(health_pb2.HealthListRequest())
    assert set(listed.statuses) == {"", STYLIZATION_SERVICE, STYLE_SERVICE, SERVER_SERVICE}
    assert {status.status for status in listed.statuses.values()} == {health_pb2.HealthCheckResponse.SERVING}


async def test_an_unknown_method_is_refused_with_a_reason(server):
    for path in ("/clipstyler.v1.StylizationService/Missing", "/nobody/Nothing"):
        call = server.channel.unary_unary(path)(b"")
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        assert await reason_of(call) == ("UNIMPLEMENTED", "UNKNOWN_METHOD")
