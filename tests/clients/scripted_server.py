"""A gRPC server in this process that plays scripts, so that the clients' tests take milliseconds."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image

from clipstyler.v1 import (
    event_pb2,
    image_pb2,
    options_pb2,
    server_service_pb2,
    server_service_pb2_grpc,
    stylization_pb2,
    stylization_service_pb2,
    stylization_service_pb2_grpc,
)

Event = event_pb2.StylizationEvent
Script = Callable[[stylization_service_pb2.StylizeRequest, grpc.ServicerContext], Iterator[Event]]
NAME = "stylizations/8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11"
LOSSES = stylization_pb2.StylizationResult.Losses(total=10, direction=0.5, patch=0.25, content=2, total_variation=30)


def picture(color: str = "orange", size: tuple[int, int] = (64, 48), image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format=image_format)
    return buffer.getvalue()


def metadata(data: bytes) -> image_pb2.ImageMetadata:
    return image_pb2.ImageMetadata(
        format=image_pb2.IMAGE_FORMAT_PNG,
        width_px=64,
        height_px=48,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).digest(),
    )


def result(data: bytes, *, inline: bool = True) -> Event:
    options = options_pb2.StylizationOptions(
        preset=options_pb2.PRESET_DRAFT, steps=3, seed=7, encoder_set="pocket", weight_patch=9000
    )
    outcome = stylization_pb2.StylizationResult(
        image=metadata(data),
        models=[stylization_pb2.EncoderModel(name="pocket", digest="ab" * 32)],
        device="cpu",
        provider="torch-cpu",
        thread_count=1,
        versions={"torch": "2.15.0"},
        losses=LOSSES,
        timings=stylization_pb2.StylizationResult.Timings(optimize=duration_pb2.Duration(seconds=1)),
    )
    spec = stylization_pb2.StylizationSpec(style_text="fire", source_text="a Photo", options=options)
    return Event(result=Event.Result(spec=spec, result=outcome, image_data=data if inline else b""))


def ordinary(_request: object, _context: object) -> Iterator[Event]:
    """A preview of the start, three steps, each with a preview, and a result."""
    yield Event(queued=Event.Queued(position=0, seed=7))
    yield Event(started=Event.Started(steps=3, width_px=64, height_px=48, device="cpu"))
    yield Event(preview=Event.Preview(image=metadata(picture("yellow")), image_data=picture("yellow")))
    for step in (1, 2, 3):
        second = duration_pb2.Duration(seconds=step)
        yield Event(progress=Event.Progress(step=step, steps=3, losses=LOSSES, rejected=0.5, elapsed=second))
        color = ("red", "green", "blue")[step - 1]
        yield Event(preview=Event.Preview(step=step, image=metadata(picture(color)), image_data=picture(color)))
    yield Event(heartbeat=Event.Heartbeat())
    yield Event(warning=Event.Warning(code="UNKNOWN_TEXT", message="never heard of it"))
    yield Event(gap=Event.Gap(skipped_progress_count=4, skipped_preview_count=2))
    yield result(picture())


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *details: object) -> None:
    """Abort with a `google.rpc.Status`."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))


def invalid_steps(_request: object, context: grpc.ServicerContext) -> Iterator[Event]:
    violation = error_details_pb2.BadRequest.FieldViolation(field="spec.options.steps", description="must be 1 or more")
    refuse(
        context,
        grpc.StatusCode.INVALID_ARGUMENT,
        "spec.options.steps: must be 1 or more",
        error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="clipstyler.dev"),
        error_details_pb2.BadRequest(field_violations=[violation]),
    )
    yield Event()


def queue_full(_request: object, context: grpc.ServicerContext) -> Iterator[Event]:
    refuse(
        context,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the queue is full",
        error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="clipstyler.dev"),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=12)),
    )
    yield Event()


@dataclass
class ScriptedServer(
    stylization_service_pb2_grpc.StylizationServiceServicer, server_service_pb2_grpc.ServerServiceServicer
):
    """Plays `script` for every call, and remembers requests and whether a call was cancelled."""

    script: Script = ordinary
    target: str = ""
    requests: list[stylization_service_pb2.StylizeRequest] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    worker_state: int = server_service_pb2.ServerInfo.Worker.STATE_IDLE

    def Stylize(
        self, request: stylization_service_pb2.StylizeRequest, context: grpc.ServicerContext
    ) -> Iterator[stylization_service_pb2.StylizeResponse]:
        self.requests.append(request)
        self._note(context)
        context.add_callback(self.ended.set)
        for sequence, event in enumerate(self.script(request, context), start=1):
            event.stylization, event.sequence = NAME, sequence
            yield stylization_service_pb2.StylizeResponse(event=event)

    def GetServerInfo(
        self, _request: server_service_pb2.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> server_service_pb2.GetServerInfoResponse:
        self._note(context)
        info = server_service_pb2.ServerInfo
        described = info(
            version="1.2.3",
            limits=info.Limits(max_image_bytes=1000),
            encoder_sets=[
                server_service_pb2.EncoderSet(
                    name="pocket",
                    description="bundled",
                    models=[stylization_pb2.EncoderModel(name="pocket", digest="ab" * 32)],
                    source_text="a Photo",
                    calibration=options_pb2.StylizationOptions(threshold=0.25),
                )
            ],
            workers=[
                info.Worker(
                    name="cpu/0",
                    host="node-1",
                    device="cpu",
                    provider="torch-cpu",
                    thread_count=1,
                    state=self.worker_state,
                    accelerations=["bf16"],
                )
            ],
            queue=info.Queue(waiting_count=1, running_count=1, capacity=16, capacity_per_caller=4),
            caller=info.Caller(tenant="studio", role=info.Caller.ROLE_USER),
        )
        return server_service_pb2.GetServerInfoResponse(server_info=described)

    def _note(self, context: grpc.ServicerContext) -> None:
        self.authorizations.append(dict(context.invocation_metadata()).get("authorization"))


@contextmanager
def serving(
    script: Script = ordinary,
    credentials: grpc.ServerCredentials | None = None,
    kind: type[ScriptedServer] = ScriptedServer,
    services: Iterable[Callable[[Any, grpc.Server], None]] = (),
) -> Iterator[ScriptedServer]:
    """Run a scripted server on a free loopback port, with further services if it has them."""
    servicer = kind(script)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    stylization_service_pb2_grpc.add_StylizationServiceServicer_to_server(servicer, server)
    server_service_pb2_grpc.add_ServerServiceServicer_to_server(servicer, server)
    for add in services:
        add(servicer, server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    servicer.target = f"127.0.0.1:{port}"
    server.start()
    try:
        yield servicer
    finally:
        server.stop(grace=None).wait()
