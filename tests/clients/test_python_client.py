"""The Python client, sync and async: events, whole results, errors with their details, cancelling."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from clipstyler_client import (
    AsyncClient,
    BrokenResultError,
    Client,
    DeadlineExceededError,
    FieldViolation,
    Gap,
    Heartbeat,
    InvalidRequestError,
    OptionError,
    Preparing,
    Preview,
    PreviewOptions,
    Progress,
    Queued,
    Region,
    Result,
    ServerBusyError,
    ServerUnavailableError,
    Started,
    StylizationCancelledError,
    StylizationStream,
    StylizeError,
    StylizeOptions,
    Upload,
    Warning,
)
from clipstyler_client._errors import from_message
from clipstyler_client._server_info import server_info
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clipstyler.v1 import error_pb2, image_pb2, options_pb2, server_service_pb2, stylization_pb2
from tests.clients.scripted_server import (
    Event,
    Script,
    ScriptedServer,
    invalid_steps,
    ordinary,
    picture,
    queue_full,
    result,
    serving,
)

PHOTO = picture("gray")
NO_TEXT = "\udcff"  # what Python makes of an argument or a file name that is no UTF-8
KINDS = [Queued, Started, Preview, *[Progress, Preview] * 3, Heartbeat, Warning, Gap, Result]


def chunked(parts: list[tuple[int, bytes]], whole: bytes) -> Script:
    def script(_request: object, _context: object) -> Iterator[Event]:
        for offset, data in parts:
            yield Event(chunk=Event.Chunk(offset=offset, data=data))
        yield result(whole, inline=False)

    return script


def endless(_request: object, context: grpc.ServicerContext) -> Iterator[Event]:
    step = 0
    while context.is_active():
        step += 1
        yield Event(progress=Event.Progress(step=step, steps=10**6))


def test_all_events_arrive_in_order_and_the_result_is_last() -> None:
    with serving() as server, Client(server.target) as client:
        events = list(client.stylize(PHOTO, "fire"))
    assert [type(event) for event in events] == KINDS
    assert [event.sequence for event in events] == list(range(1, len(KINDS) + 1))
    assert len({event.stylization for event in events}) == 1
    start, progress = events[2:4]
    assert isinstance(start, Preview)
    assert (start.step, start.image) == (0, picture("yellow"))
    assert isinstance(progress, Progress)
    assert (progress.step, progress.steps, progress.rejected, progress.elapsed_s) == (1, 3, 0.5, 1.0)
    assert (progress.losses.total, progress.losses.total_variation) == (10, 30)


async def test_the_async_client_sees_the_same() -> None:
    with serving() as server:
        async with AsyncClient(server.target) as client:
            events = [event async for event in client.stylize(PHOTO, "fire")]
            again = await client.stylize(PHOTO, "fire").result()
            info = await client.wait_until_ready(5)
    assert [type(event) for event in events] == KINDS
    assert events[-1] == again
    assert info.is_ready


def test_a_result_is_complete_and_can_be_saved(tmp_path: Path) -> None:
    with serving() as server, Client(server.target) as client:
        end = client.stylize(PHOTO, "fire").result()
    assert end.save(tmp_path / "out.png").read_bytes() == picture()
    assert (end.seed, end.width, end.height, end.format) == (7, 64, 48, "png")
    assert (end.device, end.provider, end.threads) == ("cpu", "torch-cpu", 1)
    assert (end.spec.style_text, end.spec.source_text) == ("fire", "a Photo")
    assert end.options == StylizeOptions(preset="draft", steps=3, seed=7, encoder_set="pocket", weight_patch=9000)
    assert end.models[0].digest == "ab" * 32
    assert end.timings == {"queued": 0, "decode": 0, "prepare": 0, "optimize": 1, "render": 0, "encode": 0}


def test_a_large_result_is_put_together_from_its_chunks() -> None:
    whole = bytes(range(256)) * 100
    with serving(chunked([(0, whole[:9000]), (9000, whole[9000:])], whole)) as server, Client(server.target) as client:
        assert client.stylize(PHOTO, "fire").result().image == whole


@pytest.mark.parametrize("parts", [[(0, b"a" * 10)], [(0, b"b" * 20)], [(10, b"a" * 10), (0, b"a" * 10)], []], ids=str)
def test_a_result_that_arrives_broken_is_never_handed_out(parts: list[tuple[int, bytes]]) -> None:
    with (
        serving(chunked(parts, b"a" * 20)) as server,
        Client(server.target) as client,
        pytest.raises(BrokenResultError),
    ):
        client.stylize(PHOTO, "fire").result()


def test_a_stream_that_ends_without_a_result_is_an_error() -> None:
    def silent(_request: object, _context: object) -> Iterator[Event]:
        yield Event(queued=Event.Queued())

    with (
        serving(silent) as server,
        Client(server.target) as client,
        pytest.raises(BrokenResultError, match="without a result"),
    ):
        client.stylize(PHOTO, "fire").result()


def test_options_travel_as_given_and_what_is_not_given_stays_absent(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PHOTO)
    options = StylizeOptions(
        preset="paper", size=300, augmentation=False, weight_tv=0.0, tv_form="squared", augment_fill="context", seed=0
    )
    with serving() as server, Client(server.target) as client:
        client.stylize(
            photo, "fire", previews=PreviewOptions(every_steps=0, format="webp"), result_format="jpeg", **options
        ).result()
        (request,) = server.requests
    spec = request.spec
    assert spec.image == PHOTO
    assert not spec.HasField("source_text")
    assert spec.options.preset == options_pb2.PRESET_PAPER
    assert spec.options.HasField("seed")
    assert not spec.options.HasField("steps")
    assert spec.options.HasField("weight_tv")
    assert not spec.options.HasField("weight_patch")
    assert (spec.previews.every_steps, spec.previews.HasField("max_size")) == (0, False)
    assert spec.result_format == image_pb2.IMAGE_FORMAT_JPEG


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (StylizeOptions(preset="fast"), "preset: 'fast' does not fit: 'fast' is unknown: use one of draft, paper"),
        (StylizeOptions(steps=2**31), "steps: 2147483648 does not fit"),
        (StylizeOptions(tau=0.7), "tau: is unknown: use one of preset, size"),
    ],
)
def test_an_option_that_cannot_be_sent_is_refused_here(options: StylizeOptions, message: str) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match=message):
        client.stylize(PHOTO, "fire", **options)


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, math.inf, 1e12])
async def test_a_time_that_no_call_can_be_given_is_refused_by_each_of_them(timeout_s: float) -> None:
    def calls(client: Any) -> list[Callable[[], Any]]:
        return [
            partial(client.server_info, timeout_s=timeout_s),
            partial(client.jobs.download, "x", timeout_s=timeout_s),
            partial(client.jobs.upload, PHOTO, timeout_s=timeout_s),
            partial(client.styles.download, "x", timeout_s=timeout_s),
            partial(client.styles.render, PHOTO, style="x", timeout_s=timeout_s),
        ]

    with Client("127.0.0.1:1") as client:
        for call in calls(client):
            with pytest.raises(OptionError, match="timeout_s: "):
                call()
    async with AsyncClient("127.0.0.1:1") as asynchronous:
        for call in calls(asynchronous):
            with pytest.raises(OptionError, match="timeout_s: "):
                await call()


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("style_text", lambda client: client.stylize(PHOTO, NO_TEXT)),
        ("source_text", lambda client: client.jobs.create(PHOTO, "fire", source_text=NO_TEXT)),
        ("region", lambda client: client.stylize(PHOTO, "fire", region=Region(boxes=[(0, 0, 1, 1)], text=NO_TEXT))),
        ("request_id", lambda client: client.jobs.create(PHOTO, "fire", request_id=NO_TEXT)),
        ("name", lambda client: client.jobs.get(NO_TEXT)),
        ("name", lambda client: client.jobs.watch(NO_TEXT)),
        ("name", lambda client: client.jobs.download(NO_TEXT)),
        ("name", lambda client: client.styles.delete(NO_TEXT)),
        ("style", lambda client: next(client.styles.apply(NO_TEXT, [PHOTO]))),
        ("texts", lambda client: client.encoders.encode_text(["fire", NO_TEXT])),
        ("labels", lambda client: client.encoders.classify(PHOTO, ("fire", NO_TEXT))),
        ("encoder_set", lambda client: client.encoders.text_direction("fire", encoder_set=NO_TEXT)),
        ("target", lambda _: Client(NO_TEXT)),
    ],
)
def test_text_that_is_no_utf_8_is_refused_by_its_name(field: str, call: Callable[[Client], object]) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(OptionError, match=r"'\S*\\udcff' \w+") as refused:
        call(client)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("style_text", lambda client: client.stylize(PHOTO, 5)),
        ("photo", lambda client: client.stylize(None, "fire")),
        ("photo", lambda client: client.jobs.upload(None)),
        ("priority", lambda client: client.stylize(PHOTO, "fire", priority=5)),
        ("result_format", lambda client: client.stylize(PHOTO, "fire", result_format=b"png")),
        ("region", lambda client: client.stylize(PHOTO, "fire", region=Region(text=5))),
        ("region.mask", lambda client: client.stylize(PHOTO, "fire", region=Region(mask=5))),
        ("region.boxes", lambda client: client.stylize(PHOTO, "fire", region=Region(boxes=5))),
        ("timeout_s", lambda client: client.stylize(PHOTO, "fire", timeout_s="60")),
        ("timeout_s", lambda client: client.jobs.create(PHOTO, "fire", timeout_s="60")),
        ("request_id", lambda client: client.jobs.create(PHOTO, "fire", request_id=5)),
        ("name", lambda client: client.jobs.get(5)),
        ("name", lambda client: client.jobs.download(5)),
        ("after_sequence", lambda client: client.jobs.watch("x", after_sequence=2**70)),
        ("page_size", lambda client: client.jobs.page(page_size=2**40)),
        ("style", lambda client: next(client.styles.apply(5, [PHOTO]))),
        ("photos", lambda client: next(client.styles.apply("x", "photo.jpg"))),
        ("photos", lambda client: client.styles.fit("photo.jpg", "fire")),
        ("photos", lambda client: client.styles.fit(Upload("uploads/x"), "fire")),
        ("photos", lambda client: client.styles.create(photos=Path("photo.jpg"), style_text="fire")),
        ("file", lambda client: client.styles.upload(None)),
        ("texts", lambda client: client.encoders.encode_text("fire")),
        ("texts", lambda client: client.encoders.encode_text(["fire", 5])),
        ("images", lambda client: client.encoders.encode_image(PHOTO)),
        ("images", lambda client: client.encoders.encode_image([PHOTO, None])),
        ("image", lambda client: client.encoders.classify(None, ["fire"])),
        ("labels", lambda client: client.encoders.classify(PHOTO, "fire")),
        ("labels", lambda client: client.encoders.classify(PHOTO, 5)),
        ("seed", lambda client: client.encoders.evaluate(PHOTO, PHOTO, "fire", seed=2**70)),
        ("target", lambda _: Client(50051)),
        ("token", lambda _: Client(token=b"token")),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_by_its_name(field: str, call: Callable[[Any], object]) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(OptionError) as refused:
        call(client)
    assert refused.value.field == field


def test_bytes_beyond_what_any_server_accepts_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipstyler_client._codec._MAX_PHOTO_BYTES", 100)
    with Client("127.0.0.1:1") as client, pytest.raises(OptionError, match="has 101 bytes, and no server accepts more"):
        client.stylize(b"x" * 101, "fire")


def test_a_refused_field_is_named() -> None:
    with (
        serving(invalid_steps) as server,
        Client(server.target) as client,
        pytest.raises(InvalidRequestError) as caught,
    ):
        client.stylize(PHOTO, "fire").result()
    assert caught.value.reason == "INVALID_FIELD"
    assert caught.value.violations == (FieldViolation("spec.options.steps", "must be 1 or more"),)


async def test_a_refused_field_is_named_to_the_async_client_too() -> None:
    with serving(invalid_steps) as server:
        async with AsyncClient(server.target) as client:
            with pytest.raises(InvalidRequestError) as caught:
                await client.stylize(PHOTO, "fire").result()
    assert caught.value.violations[0].field == "spec.options.steps"


def test_a_full_queue_reports_when_to_retry() -> None:
    with serving(queue_full) as server, Client(server.target) as client, pytest.raises(ServerBusyError) as caught:
        client.stylize(PHOTO, "fire").result()
    assert caught.value.retry_delay_s == 12


class Full(ScriptedServer):
    """Refuses an upload after its first message."""

    def UploadImage(self, request_iterator: Iterator[object], context: grpc.ServicerContext) -> None:
        next(request_iterator)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")


async def test_the_server_says_why_it_refuses_an_upload_also_while_a_part_is_sent() -> None:
    """Without waiting for its status, gRPC's own was reported in some 3 % of these calls."""
    photo = bytes(12 * 2**20)
    with serving(kind=Full) as server, Client(server.target) as client:
        with pytest.raises(ServerBusyError, match="the disk is full"):
            client.jobs.upload(photo)
        async with AsyncClient(server.target) as asynchronous:
            for _ in range(100):
                with pytest.raises(ServerBusyError, match="the disk is full"):
                    await asynchronous.jobs.upload(photo)


def test_a_server_that_is_away_for_a_moment_is_tried_again() -> None:
    attempts = []

    def flaky(request: object, context: grpc.ServicerContext) -> Iterator[Event]:
        attempts.append(1)
        if len(attempts) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        yield from ordinary(request, context)

    photo = picture("gray", (800, 800), "BMP")  # larger than gRPC's usual retry buffer
    with serving(flaky) as server, Client(server.target) as client:
        client.stylize(photo, "fire").result()
    assert len(attempts) == 3


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ServerUnavailableError):
        client.stylize(PHOTO, "fire", timeout_s=10).result()


def test_a_failure_during_the_work_carries_its_status() -> None:
    def failing(_request: object, _context: object) -> Iterator[Event]:
        error = error_pb2.Error(
            code=error_pb2.Error.CODE_UNAVAILABLE,
            reason="WORKER_CRASHED",
            message="the worker crashed",
            field_violations=[error_pb2.Error.FieldViolation(field="spec.image", description="odd")],
            metadata={"problem": "crashed"},
        )
        error.retry_delay.FromSeconds(3)
        yield Event(failed=Event.Failed(error=error))

    with serving(failing) as server, Client(server.target) as client, pytest.raises(ServerUnavailableError) as caught:
        client.stylize(PHOTO, "fire").result()
    error = caught.value
    assert (error.message, error.reason) == ("the worker crashed", "WORKER_CRASHED")
    assert (error.retry_delay_s, error.metadata) == (3, {"problem": "crashed"})
    assert error.violations == (FieldViolation("spec.image", "odd"),)


def test_a_cancelled_stylization_is_an_error_of_its_own() -> None:
    def cancelled(_request: object, _context: object) -> Iterator[Event]:
        yield Event(cancelled=Event.Cancelled(step=4))

    with (
        serving(cancelled) as server,
        Client(server.target) as client,
        pytest.raises(StylizationCancelledError, match="after 4 steps"),
    ):
        client.stylize(PHOTO, "fire").result()


def test_closing_a_stream_ends_the_call() -> None:
    with serving(endless) as server, Client(server.target) as client:
        with client.stylize(PHOTO, "fire") as stream:
            next(stream)
        assert list(stream) == []
        assert server.ended.wait(5)


async def test_closing_an_async_stream_ends_the_call() -> None:
    with serving(endless) as server:
        async with AsyncClient(server.target) as client:
            async with client.stylize(PHOTO, "fire") as stream:
                await anext(stream)
            assert [event async for event in stream] == []
        assert server.ended.wait(5)


def test_a_deadline_ends_the_call() -> None:
    with serving(endless) as server, Client(server.target) as client, pytest.raises(DeadlineExceededError):
        client.stylize(PHOTO, "fire", timeout_s=0.3).result()


def test_the_server_describes_itself() -> None:
    with serving() as server, Client(server.target) as client:
        info = client.server_info()
    assert (info.version, info.capacity, info.capacity_per_caller) == ("1.2.3", 16, 4)
    assert (info.limits["max_image_bytes"], info.limits["max_job_memory_bytes"]) == (1000, 0)
    assert info.encoder_sets[0].calibration == {"threshold": 0.25}
    assert (info.workers[0].state, info.workers[0].accelerations) == ("idle", ("bf16",))
    assert (info.workers[0].name, info.workers[0].host) == ("cpu/0", "node-1")


def fill_each_field(message: Message, numbers: Iterator[int]) -> list[str]:
    """Set every field, most to a number of its own; returns those as `repr` shows them."""
    printed: list[str] = []
    for field in message.DESCRIPTOR.fields:
        value: Any = getattr(message, field.name)
        if field.message_type == Timestamp.DESCRIPTOR:
            value.FromDatetime(datetime(2345, 6, 7))
            printed.append("2345, 6, 7")
        elif field.message_type:
            printed += fill_each_field(value.add() if field.is_repeated else value, numbers)
        elif field.enum_type or field.type == field.TYPE_BOOL:
            setattr(message, field.name, 1)
        else:
            number = next(numbers)
            printed.append(str(number))
            filled = str(number) if field.type == field.TYPE_STRING else number
            value.append(filled) if field.is_repeated else setattr(message, field.name, filled)
    return printed


def test_every_field_of_the_description_is_translated() -> None:
    message = server_service_pb2.ServerInfo()
    printed = fill_each_field(message, itertools.count(1000))
    described = repr(server_info(message))
    assert [field for field in printed if field not in described] == []
    assert "PresetInfo" in described


def test_waiting_for_a_server_that_does_not_get_ready_ends() -> None:
    with serving() as server, Client(server.target) as client:
        server.worker_state = server_service_pb2.ServerInfo.Worker.STATE_STARTING
        with pytest.raises(ServerUnavailableError, match="still starting"):
            client.wait_until_ready(0.3)


def test_an_error_without_details_keeps_its_code() -> None:
    def abort(_request: object, context: grpc.ServicerContext) -> Iterator[Event]:
        context.abort(grpc.StatusCode.INTERNAL, "oops")
        yield Event()

    with serving(abort) as server, Client(server.target) as client, pytest.raises(StylizeError) as caught:
        client.stylize(PHOTO, "fire").result()
    assert (caught.value.code, caught.value.message) == ("INTERNAL", "oops")


def test_a_detail_that_is_damaged_is_left_out() -> None:
    def abort(_request: object, context: grpc.ServicerContext) -> Iterator[Event]:
        damaged = any_pb2.Any(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff")
        whole = any_pb2.Any()
        whole.Pack(error_details_pb2.ErrorInfo(reason="QUEUE_FULL"))
        status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], details=[damaged, whole])
        context.abort_with_status(rpc_status.to_status(status))
        yield Event()

    with serving(abort) as server, Client(server.target) as client, pytest.raises(ServerBusyError) as caught:
        client.stylize(PHOTO, "fire").result()
    assert (caught.value.reason, caught.value.violations) == ("QUEUE_FULL", ())


def test_the_client_is_light() -> None:
    code = (
        "import sys, clipstyler_client\n"
        "heavy = {'torch', 'numpy', 'rich', 'typer', 'pydantic', 'clipstyler_server', 'clipstyler.config'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_result_is_kept_after_the_events() -> None:
    with serving() as server, Client(server.target) as client, client.stylize(picture(), "fire") as stream:
        *_, last = stream
        assert stream.result() is last
        assert stream.result() is last


def test_a_failure_is_kept_too() -> None:
    with serving(queue_full) as server, Client(server.target) as client:
        for ask in (StylizationStream.result, list):
            stream = client.stylize(PHOTO, "fire")
            for again in (ask, StylizationStream.result, StylizationStream.result):
                with pytest.raises(ServerBusyError, match="the queue is full"):
                    again(stream)


async def test_a_failure_is_kept_by_the_async_client_too() -> None:
    with serving(queue_full) as server:
        async with AsyncClient(server.target) as client:
            stream = client.stylize(PHOTO, "fire")
            for _ in range(2):
                with pytest.raises(ServerBusyError, match="the queue is full"):
                    await stream.result()


def test_a_code_that_a_newer_server_sends_is_still_an_error() -> None:
    error = from_message(error_pb2.Error(code=99, reason="NEW_REASON", message="something new"))
    assert (error.code, error.reason, str(error)) == ("99", "NEW_REASON", "something new")


def test_the_preparation_arrives_as_progress_of_its_own() -> None:
    def script(*_: object) -> Iterator[Event]:
        yield Event(preparing=Event.Preparing(part=1, parts=4))
        yield Event(preparing=Event.Preparing(part=2, parts=4, remaining=duration_pb2.Duration(seconds=3)))
        yield result(picture())

    with serving(script) as server, Client(server.target) as client:
        events = list(client.stylize(picture(), "fire"))
    prepared = [(event.part, event.parts, event.remaining_s) for event in events if isinstance(event, Preparing)]
    assert prepared == [(1, 4, None), (2, 4, 3.0)]


@pytest.mark.parametrize(("reason", "word"), [("STOP_REASON_PLATEAU", "plateau"), ("STOP_REASON_UNSPECIFIED", "")])
def test_a_result_reports_its_steps_and_why_they_ended(reason: str, word: str) -> None:
    def script(*_: object) -> Iterator[Event]:
        event = result(picture())
        event.result.result.step_count = 17
        event.result.result.stop_reason = stylization_pb2.StylizationResult.StopReason.Value(reason)
        yield event

    with serving(script) as server, Client(server.target) as client:
        found = client.stylize(picture(), "fire").result()
    assert (found.steps, found.stop_reason) == (17, word)
