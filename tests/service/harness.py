"""A real server in this process, with real child processes, on a scripted workload."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import io
import itertools
import random
import shutil
import struct
import tempfile
import uuid
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import pytest
from clipstyler_server.app import App
from clipstyler_server.jobs.job import Job
from clipstyler_server.settings import Settings
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image

from clipstyler.v1 import server_service_pb2, server_service_pb2_grpc, stylization_service_pb2_grpc
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.error_pb2 import Error
from clipstyler.v1.event_pb2 import StylizationEvent
from clipstyler.v1.image_pb2 import ImageMetadata
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization, StylizationSpec
from clipstyler.v1.stylization_service_pb2 import CreateStylizationRequest, StylizeRequest, UploadImageRequest

PATIENCE_S = 30.0
_FOLDER = tempfile.mkdtemp(prefix="clipstyler-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def photo(width: int = 96, height: int = 64, image_format: str = "PNG") -> bytes:
    gradient = Image.linear_gradient("L").resize((width, height))
    buffer = io.BytesIO()
    Image.merge("RGB", (gradient, gradient.transpose(Image.Transpose.ROTATE_180), gradient)).save(buffer, image_format)
    return buffer.getvalue()


def huge_header() -> bytes:
    """A PNG of a few bytes that claims 30000 x 30000 px."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(b"")) + part(b"IEND", b"")


def noise_photo(width: int, height: int, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(1).randbytes(width * height * 3)).save(buffer, image_format)
    return buffer.getvalue()


SPEC_FIELDS = {field.name for field in StylizationSpec.DESCRIPTOR.fields}


def spec(style_text: str = "a scripted look", **fields: object) -> StylizationSpec:
    """A small valid spec; `options` are merged into small ones."""
    options = StylizationOptions(size=64, steps=3, patches=2, seed=1)
    options.MergeFrom(fields.pop("options", StylizationOptions()))
    photos = {} if "upload" in fields else {"image": photo()}
    return StylizationSpec(**(photos | {"style_text": style_text, "options": options} | fields))


def request(style_text: str = "a scripted look", **fields: object) -> StylizeRequest:
    """A small valid request; fields are those of the spec or of the request."""
    own = {name: fields.pop(name) for name in list(fields) if name not in SPEC_FIELDS}
    return StylizeRequest(spec=spec(style_text, **fields), **own)


def order(style_text: str = "a scripted look", **fields: object) -> CreateStylizationRequest:
    """A small valid request for a job, with a request id of its own."""
    own = {name: fields.pop(name) for name in list(fields) if name not in SPEC_FIELDS}
    return CreateStylizationRequest(spec=spec(style_text, **fields), **({"request_id": str(uuid.uuid4())} | own))


async def refusal(answer: Awaitable[object]) -> status_pb2.Status:
    """The status of a call that must fail."""
    try:
        await answer
    except grpc.aio.AioRpcError as error:
        return status_of(error)
    raise AssertionError("the call was not refused")


async def eventually(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> object:
    """Wait until a condition holds; returns what it returned."""
    async with asyncio.timeout(timeout_s):
        while not (value := condition()):
            await asyncio.sleep(0.01)
        return value


def fail_once(patch: pytest.MonkeyPatch, owner: object, name: str, error: Exception) -> None:
    """Have the next call of a function raise an error."""
    real = getattr(owner, name)

    def fail(*_: object) -> None:
        patch.setattr(owner, name, real)
        raise error

    patch.setattr(owner, name, fail)


@dataclass
class Outcome:
    """What a call gave: its events, and its status unless that is OK."""

    events: list[StylizationEvent]
    status: status_pb2.Status | None

    def kinds(self) -> list[str]:
        return [event.WhichOneof("event") for event in self.events]

    def only(self, kind: str) -> list:
        return [getattr(event, kind) for event in self.events if event.WhichOneof("event") == kind]

    @property
    def result(self):
        (result,) = self.only("result")
        return result


def details(status: status_pb2.Status, kind: type) -> object | None:
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):
            message = kind()
            detail.Unpack(message)
            return message
    return None


def reason(status: status_pb2.Status | None) -> str:
    info = details(status, error_details_pb2.ErrorInfo)
    assert info.domain == "clipstyler.dev"
    return info.reason


def fields(status: status_pb2.Status) -> list[str]:
    bad = details(status, error_details_pb2.BadRequest)
    return [violation.field for violation in bad.field_violations] if bad else []


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    return rpc_status.from_call(error) or status_pb2.Status(code=error.code().value[0], message=error.details())


class Caller:
    """What tests ask of a server, wherever it runs."""

    stub: stylization_service_pb2_grpc.StylizationServiceStub

    async def create(self, asked: CreateStylizationRequest, client: str | None = None) -> Stylization:
        metadata = [("x-clipstyler-client", client)] if client else None
        return (await self.stub.CreateStylization(asked, metadata=metadata, timeout=PATIENCE_S)).stylization

    async def upload(self, data: bytes) -> str:
        """Upload a photo; returns its name."""
        header = UploadImageRequest.Header(size_bytes=len(data), sha256=hashlib.sha256(data).digest())
        parts = (UploadImageRequest(data=data[start : start + 500_000]) for start in range(0, len(data), 500_000))
        requests = itertools.chain([UploadImageRequest(header=header)], parts)
        return (await self.stub.UploadImage(requests, timeout=PATIENCE_S)).upload

    async def get(self, name: str) -> Stylization:
        return (await self.stub.GetStylization(pb.GetStylizationRequest(name=name))).stylization

    async def page(self, **fields: object) -> pb.ListStylizationsResponse:
        return await self.stub.ListStylizations(pb.ListStylizationsRequest(**fields))

    async def cancel(self, name: str) -> Stylization:
        return (await self.stub.CancelStylization(pb.CancelStylizationRequest(name=name))).stylization

    async def delete(self, name: str) -> None:
        await self.stub.DeleteStylization(pb.DeleteStylizationRequest(name=name))

    async def image(self, name: str, kind: int = Stylization.IMAGE_KIND_RESULT) -> tuple[ImageMetadata, bytes]:
        parts = [
            part async for part in self.stub.GetStylizationImage(pb.GetStylizationImageRequest(name=name, kind=kind))
        ]
        return parts[0].metadata, b"".join(part.data for part in parts[1:])

    async def watch(self, name: str, after: int = 0) -> Outcome:
        """Watch a job to its end."""
        asked = pb.WatchStylizationRequest(name=name, after_sequence=after)
        return await collect(self.stub.WatchStylization(asked, timeout=PATIENCE_S))

    def begin_watch(self, name: str, after: int = 0):
        """Watch in the background; returns the call, its events so far and its task."""
        call = self.stub.WatchStylization(pb.WatchStylizationRequest(name=name, after_sequence=after))
        events: list[StylizationEvent] = []
        return call, events, asyncio.create_task(collect(call, events))


class Harness(Caller):
    """A running server in this process and a channel to it."""

    def __init__(self, app: App, channel: grpc.aio.Channel) -> None:
        self.app = app
        self.channel = channel
        self.stopped = False
        self._before: dict = {}
        self.stub = stylization_service_pb2_grpc.StylizationServiceStub(channel)
        self.info_stub = server_service_pb2_grpc.ServerServiceStub(channel)

    @property
    def running(self) -> Job | None:
        """The job that was started first of those that run."""
        return next(iter(self.app.scheduler.running.values()), None)

    async def info(self) -> server_service_pb2.ServerInfo:
        return (await self.info_stub.GetServerInfo(server_service_pb2.GetServerInfoRequest())).server_info

    async def stylize(self, asked: StylizeRequest, timeout: float = PATIENCE_S) -> Outcome:
        return await collect(self.stub.Stylize(asked, timeout=timeout))

    def begin(self, asked: StylizeRequest, timeout: float = 3600):
        """Start a call and read it in the background; returns the call, its events so far and its task.

        However slow the machine is just now, admission finds that there is time enough.
        """
        call = self.stub.Stylize(asked, timeout=timeout)
        events: list[StylizationEvent] = []
        return call, events, asyncio.create_task(collect(call, events))

    def metric(self, name: str, **labels: str) -> float:
        """Value of a metric of ours, less what it was when the test began."""
        return self._since(f"clipstyler_{name}", labels)

    def calls(self, method: str, status: str) -> float:
        """Number of calls of a method, "/SERVICE/METHOD", that ended with a status, since the test began."""
        labels = {"grpc_method": method.removeprefix("/"), "grpc_status": status}
        return self._since("grpc_server_call_duration_seconds_count", labels)

    def _since(self, name: str, labels: dict[str, str]) -> float:
        key = (name, tuple(sorted(labels.items())))
        return self._samples().get(key, 0.0) - self._before.get(key, 0.0)

    def count_from_here(self) -> None:
        self._before = self._samples()

    def _samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.app.metrics.registry.collect()
            for sample in family.samples
        }

    async def stop(self, grace_s: float = 0, keep: bool = False) -> None:
        """Stop the server; its data stays for another one if it is to be kept."""
        if self.stopped:
            return
        self.stopped = True
        await self.app.stop(grace_s)
        await self.channel.close()
        if not keep:
            shutil.rmtree(self.app.settings.data_path)


async def collect(call, events: list[StylizationEvent] | None = None) -> Outcome:
    events = [] if events is None else events
    try:
        async for response in call:
            assert response.ByteSize() <= 3 * 2**20
            events.append(response.event)
    except grpc.aio.AioRpcError as error:
        return Outcome(events, status_of(error))
    return Outcome(events, None)


def settings(**changes: object) -> Settings:
    plain = {
        "port": 0,
        "http_port": 0,
        "encoder_sets": "scripted,other",
        "threads": 1,
        "queue_capacity": 200,
        "restart_delay_s": 0.05,
        "evaluator": False,
        "log_level": "warning",
        "data_dir": tempfile.mkdtemp(dir=_FOLDER),
    }
    return Settings(**(plain | changes))


def same_error(error: Error, status: status_pb2.Status) -> bool:
    """Whether a message's error is that of a call."""
    info = details(status, error_details_pb2.ErrorInfo)
    shown = (error.code, error.message, error.reason, dict(error.metadata))
    return shown == (status.code, status.message, info.reason, dict(info.metadata))
