"""A server of a later version, in this process: it sends what today's contract does not know, and errors on demand.

The style text decides: `broken=1` sends an image that does not match its digest, `error=PLAIN` a status without
details, `error=LATER` and `error=STORAGE_DAMAGED` a reason, with a detail that no client knows before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clipstyler.v1 import (
    event_pb2,
    server_service_pb2,
    server_service_pb2_grpc,
    stylization_pb2,
    stylization_service_pb2_grpc,
)
from clipstyler.v1 import stylization_service_pb2 as pb
from tests.clients.scripted_server import LOSSES, NAME, result
from tests.service.harness import photo

DOMAIN = "clipstyler.dev"
# Field 1000, length-delimited, with 5 bytes; as the kind of an event, as a message and as a detail.
UNKNOWN_FIELD = b"\xc2\x3e\x05later"
Event = event_pb2.StylizationEvent


class LaterServer(
    stylization_service_pb2_grpc.StylizationServiceServicer, server_service_pb2_grpc.ServerServiceServicer
):
    """Serves on a free loopback port from the start until `stop`."""

    def __init__(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        stylization_service_pb2_grpc.add_StylizationServiceServicer_to_server(self, self._server)
        server_service_pb2_grpc.add_ServerServiceServicer_to_server(self, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()

    def Stylize(self, request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        words = dict(word.split("=", 1) for word in request.spec.style_text.split() if "=" in word)
        if "error" in words:
            context.abort_with_status(_status(words["error"]))
        for sequence, event in enumerate(_events(broken="broken" in words), start=1):
            event.stylization, event.sequence = NAME, sequence
            yield _with_unknown(pb.StylizeResponse(event=_with_unknown(event)))

    def GetStylization(self, request: pb.GetStylizationRequest, _context: object) -> pb.GetStylizationResponse:
        job = stylization_pb2.Stylization(
            name=request.name, state=stylization_pb2.Stylization.STATE_RUNNING, step=2, priority=99, attempt_count=1
        )
        job.spec.options.preset = 99
        return _with_unknown(pb.GetStylizationResponse(stylization=_with_unknown(job)))

    def GetServerInfo(self, _request: object, _context: object) -> server_service_pb2.GetServerInfoResponse:
        info = server_service_pb2.ServerInfo(version="99.0.0")
        return _with_unknown(server_service_pb2.GetServerInfoResponse(server_info=_with_unknown(info)))


def _events(*, broken: bool) -> Iterator[Event]:
    yield Event(queued=Event.Queued(position=0, seed=7))
    yield Event()  # a kind that is not known yet: only its unknown field is added
    yield Event(progress=Event.Progress(step=1, steps=3, losses=LOSSES))
    end = result(photo(64, 48))
    end.result.result.versions["later"] = "1"
    end.result.result.image.format = 99
    if broken:
        end.result.image_data = end.result.image_data[:-1] + b"?"
    yield end


_CODES = {
    "STORAGE_DAMAGED": grpc.StatusCode.DATA_LOSS,
    "CREDENTIALS_MISSING": grpc.StatusCode.UNAUTHENTICATED,
}


def _with_unknown(message):
    message.MergeFromString(UNKNOWN_FIELD)
    return message


def _status(name: str) -> grpc.Status:
    if name == "PLAIN":
        return rpc_status.to_status(
            status_pb2.Status(code=grpc.StatusCode.PERMISSION_DENIED.value[0], message="not for you")
        )
    if name == "LATER":
        code, info = (
            grpc.StatusCode.ABORTED,
            error_details_pb2.ErrorInfo(reason="SOMETHING_NEW", domain=DOMAIN, metadata={"what": "later"}),
        )
    else:
        code, info = _CODES[name], error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN)
    status = status_pb2.Status(code=code.value[0], message=f"scripted {name}")
    status.details.append(any_pb2.Any(type_url="type.googleapis.com/later.v9.Detail", value=UNKNOWN_FIELD))
    status.details.add().Pack(_with_unknown(info))
    return rpc_status.to_status(status)
