"""Raw-bytes fuzz of every method that reflection lists, and calls that break the rules of HTTP/2 and gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections.abc import Iterator

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from clipstyler.v1 import encoder_service_pb2 as encoders
from clipstyler.v1 import style_service_pb2 as styles
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_pb2 import Stylization
from tests.attack import http2
from tests.attack.measure import Target
from tests.attack.methods import UNKNOWN_METHOD, Method, listed
from tests.attack.mutations import WIRE_MUTATIONS, set_hostile_values
from tests.attack.outcomes import Tally, run_all
from tests.service.harness import order, photo, request
from tests.service.styles import style_file

RAW_CALL_S = 3.0
"""Seconds within which a call that has ended on the client's side must be answered."""
_MAX_MESSAGES = 4
_BODIES = {
    "no message": b"",
    "half a prefix": b"\0\0\0",
    "half a message": http2.message(b"x" * 100)[:50],
    "a length of 4 GiB": b"\0\xff\xff\xff\xffx",
    "a compressed message": b"\1\0\0\0\3xyz",
    "a bad flag": b"\x7f\0\0\0\1x",
    "two messages": http2.message(b"") * 2,
}
_REFUSED_BY_GRPC = {"a length of 4 GiB", "a compressed message", "a bad flag"}
"""What gRPC refuses in its own words, before any handler could see the call."""


_STYLE = f"styles/{hashlib.sha256(style_file()).hexdigest()}"


class Samples:
    """Valid requests to start from, by method; a method without any starts from an empty message.

    Parameters
    ----------
    job
        Name of a finished job.
    """

    def __init__(self, job: str) -> None:
        image = photo(24, 16)
        uploading = pb.UploadImageRequest.Header(size_bytes=len(image), sha256=b"\0" * 32)
        self._of: dict[str, list[Message]] = {
            "Stylize": [request(image=image)],
            "CreateStylization": [order(image=image), order(upload="uploads/" + "0" * 64)],
            "GetStylization": [pb.GetStylizationRequest(name=job)],
            "ListStylizations": [
                pb.ListStylizationsRequest(page_size=3),
                pb.ListStylizationsRequest(page_token="MTc2NDAwMDAwMA", state=Stylization.STATE_FAILED),
            ],
            "WatchStylization": [pb.WatchStylizationRequest(name=job, after_sequence=1)],
            "CancelStylization": [pb.CancelStylizationRequest(name=job)],
            "DeleteStylization": [pb.DeleteStylizationRequest(name=f"stylizations/{uuid.UUID(int=1)}")],
            "GetStylizationImage": [pb.GetStylizationImageRequest(name=job, kind=3)],
            "UploadImage": [pb.UploadImageRequest(header=uploading), pb.UploadImageRequest(data=image)],
            "CreateStyle": [styles.CreateStyleRequest(stylization=job)],
            "GetStyle": [styles.GetStyleRequest(name=_STYLE)],
            "ListStyles": [styles.ListStylesRequest(page_size=3, page_token="MTc2NDAwMDAwMA")],
            "DeleteStyle": [styles.DeleteStyleRequest(name=_STYLE)],
            "DownloadStyle": [styles.DownloadStyleRequest(name=_STYLE)],
            "UploadStyle": [styles.UploadStyleRequest(data=style_file())],
            "ApplyStyle": [
                styles.ApplyStyleRequest(application=styles.StyleApplication(style=_STYLE)),
                styles.ApplyStyleRequest(photo=styles.StylePhoto(image=image)),
            ],
            "RenderStyle": [
                styles.RenderStyleRequest(
                    application=styles.StyleApplication(style=_STYLE), photo=styles.StylePhoto(image=image)
                )
            ],
            "EncodeText": [encoders.EncodeTextRequest(texts=["fire", "gold"])],
            "EncodeImage": [encoders.EncodeImageRequest(images=[image])],
            "GetTextDirection": [encoders.GetTextDirectionRequest(style_text="fire", source_text="a photo")],
            "ClassifyImage": [encoders.ClassifyImageRequest(image=image, labels=["a cat", "a dog"])],
            # A good pair takes half a second of arithmetic.
            "EvaluateStylization": [
                encoders.EvaluateStylizationRequest(content_image=image, stylized_image=other, style_text="fire")
                for other in (image, *[b"no image"] * 19)
            ],
            "Check": [health_pb2.HealthCheckRequest(service="clipstyler.v1.StylizationService")],
            "Watch": [health_pb2.HealthCheckRequest(service="")],
            "ServerReflectionInfo": [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="clipstyler.v1.Stylization"),
            ],
        }

    def draw(self, chance: random.Random, method: Method) -> Message:
        """Return a copy of a sample, with a request id of its own."""
        message = method.request()
        samples = self._of.get(method.path.rsplit("/", 1)[1], [message])
        message.MergeFromString(chance.choice(samples).SerializeToString())
        if isinstance(message, pb.CreateStylizationRequest):
            message.request_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        return message


def mutate(chance: random.Random, samples: Samples, method: Method) -> bytes:
    """Return a request with hostile values, with mutated bytes, or both."""
    message = samples.draw(chance, method)
    kind = chance.random()
    if kind < 0.5:
        set_hostile_values(chance, message, chance.choice((0.1, 0.3, 0.9)))
    data = message.SerializeToString()
    return data if kind < 0.3 else chance.choice(WIRE_MUTATIONS)(chance, data)


async def mutated_requests(target: Target, tally: Tally) -> None:
    """Send mutated requests to every method in turn."""
    chance = target.chance("requests")
    job = await target.server.create(order("a sample"))
    await target.server.watch(job.name)
    samples = Samples(job.name)
    methods = await listed(target.address)
    tally.notes["methods"] = len(methods)

    def calls() -> Iterator[object]:
        for number in range(target.scale(600, 100_000)):
            method = methods[number % len(methods)]
            count = chance.randint(1, _MAX_MESSAGES) if method.takes_stream else 1
            messages = [mutate(chance, samples, method) for _ in range(count)]
            yield tally.count(method.path, method.call(target.channel, messages))

    await run_all(calls())


def _bad_metadata() -> list[list[tuple[str, str | bytes]]]:
    return [
        [("x-huge", "y" * 100_000)],
        [("x-huge-bin", b"\xff" * 7000)],
        [(f"x-many-{number}", "y") for number in range(300)],
        [("x-clipstyler-client", "n" * 5000)],
        [("x-clipstyler-client", "[red]%s{0}")],
        [("x-request-id", "../../" + "i" * 4000)],
        [("grpc-timeout", "99999999999999999999H")],
        [("grpc-encoding", "snappy")],
        [("traceparent", "00-zz-zz-zz")],
    ]


async def malformed_calls(target: Target, tally: Tally) -> None:
    """Send huge metadata, bad deadlines, unknown methods and over-long messages, and frames that end too early."""
    methods = await listed(target.address)
    check = next(method for method in methods if method.path.endswith("/GetServerInfo"))
    unknown = Method(UNKNOWN_METHOD, check.request, takes_stream=False, gives_stream=False)
    rounds = target.scale(1, 20)
    for _ in range(rounds):
        calls = [tally.count(check.path, check.call(target.channel, [b""], metadata=m)) for m in _bad_metadata()]
        calls += [
            tally.count(check.path, check.call(target.channel, [b""], timeout_s=seconds))
            for seconds in (0, -1, 1e-9, 1e-6, 1e-3, 1e9, 1e18, None)
        ]
        calls.append(tally.count(unknown.path, unknown.call(target.channel, [b""])))
        calls += [tally.count(check.path, check.call(target.channel, [b"x" * size])) for size in (5 << 20, 18 << 20)]
        await run_all(calls)
        await _break_frames(target, tally, methods)


# Answered and then followed for as long as the caller wants, whatever comes after the first message.
_ENDLESS = {"/grpc.health.v1.Health/Watch"}


async def _break_frames(target: Target, tally: Tally, methods: list[Method]) -> None:
    """End calls without a message, with a part of one, or with a frame that no gRPC message has."""

    async def send(method: Method, name: str, body: bytes) -> None:
        tally.inputs += 1
        answer = await http2.call(target.address, method.path, body, RAW_CALL_S)
        if answer is None and method.path in _ENDLESS:
            tally.note("still open")
        elif answer is None:
            tally.unanswered[f"{method.path} {name}"] += 1
        elif answer.code == grpc.StatusCode.OK.value[0]:
            tally.ok()
        elif answer.is_mapped:
            tally.answers[answer.name] += 1
        elif name in _REFUSED_BY_GRPC:
            tally.excused[name] += 1
        else:
            tally.unmapped[f"{method.path} {answer.name}: {name}"] += 1

    await run_all(send(method, name, body) for method in methods for name, body in _BODIES.items())


async def silent_calls(target: Target, tally: Tally) -> None:
    """Open calls that never send a message, or only a part of one, and stay open; the server lets go of them."""
    method = next(method for method in await listed(target.address) if method.path.endswith("/GetServerInfo"))
    patience_s = target.scale(1, 60)

    async def hold(body: bytes) -> None:
        tally.inputs += 1
        if await http2.call(target.address, method.path, body, patience_s, ends=False) is None:
            tally.note("still open")
        else:
            tally.answers["ended by the server"] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(target.scale(20, 500)):
            group.create_task(hold(http2.message(b"x" * 100)[: 50 * (number % 2)]))
