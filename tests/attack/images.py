"""Mutated and constructed images, through every method that takes one."""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from clipstyler.v1 import encoder_service_pb2 as encoders
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceStub
from clipstyler.v1.stylization_service_pb2 import UploadImageRequest
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.attack.hostile_images import CONSTRUCTED, good_images
from tests.attack.measure import Target
from tests.attack.mutations import BYTE_MUTATIONS
from tests.attack.outcomes import Tally, run_all
from tests.service.harness import order

CALL_S = 60.0
_PIECE_BYTES = 2**20
_EVALUATIONS = 0.005
"""Share of pairs that are measured: a good pair takes half a second of arithmetic."""

Send = Callable[[Target, Tally, bytes, float], Awaitable[None]]


def mutate(chance: random.Random, good: list[bytes]) -> bytes:
    """Return a good image with changed, missing or repeated bytes, or with the head of another one."""
    data = chance.choice(good)
    if chance.random() < 0.1:
        cut = chance.randint(4, 200)
        return chance.choice(good)[:cut] + data[cut:]
    for _ in range(chance.randint(1, 3)):
        data = chance.choice(BYTE_MUTATIONS[:-1])(chance, data)
    return data


def upload_parts(data: bytes, size_bytes: int | None = None) -> Iterator[UploadImageRequest]:
    """Split an image as a client does; `size_bytes` announces another size."""
    header = UploadImageRequest.Header(size_bytes=size_bytes or len(data), sha256=hashlib.sha256(data).digest())
    yield UploadImageRequest(header=header)
    for start in range(0, len(data), _PIECE_BYTES):
        yield UploadImageRequest(data=data[start : start + _PIECE_BYTES])


async def _as_job(target: Target, tally: Tally, data: bytes, number: float) -> None:
    """Create a job, with the image or with an upload of it, by turns."""
    stub = StylizationServiceStub(target.channel)
    photo: dict[str, object] = {"image": data}
    if number < 0.5:
        uploaded = await tally.count("UploadImage", stub.UploadImage(upload_parts(data), timeout=CALL_S))
        if uploaded is None:
            return
        photo = {"upload": uploaded.upload}
    asked = order("a hostile photo", request_id=str(uuid.uuid4()), **photo)
    await tally.count("CreateStylization", stub.CreateStylization(asked, timeout=CALL_S))


async def _as_pictures(target: Target, tally: Tally, data: bytes, number: float) -> None:
    """Encode, classify or measure the image."""
    stub = EncoderServiceStub(target.channel)
    if number < _EVALUATIONS:
        pair = encoders.EvaluateStylizationRequest(content_image=data, stylized_image=data, style_text="fire")
        await tally.count("EvaluateStylization", stub.EvaluateStylization(pair, timeout=CALL_S))
    elif number < 0.5:
        labeled = encoders.ClassifyImageRequest(image=data, labels=["a cat", "a dog"])
        await tally.count("ClassifyImage", stub.ClassifyImage(labeled, timeout=CALL_S))
    else:
        plain = encoders.EncodeImageRequest(images=[data])
        await tally.count("EncodeImage", stub.EncodeImage(plain, timeout=CALL_S))


async def _send_mutated(target: Target, tally: Tally, send: Send, name: str) -> None:
    chance, good = target.chance(name), good_images()

    def calls() -> Iterator[Awaitable[None]]:
        for _ in range(target.scale(150, 10_000)):
            yield send(target, tally, mutate(chance, good), chance.random())

    await run_all(calls())


async def mutated_photos(target: Target, tally: Tally) -> None:
    """Stylize mutated images, half of them uploaded."""
    await _send_mutated(target, tally, _as_job, "photos")


async def mutated_pictures(target: Target, tally: Tally) -> None:
    """Encode, classify and measure mutated images."""
    await _send_mutated(target, tally, _as_pictures, "pictures")


async def _send_constructed(target: Target, tally: Tally, send: Send) -> None:
    scale = target.scale(0.01, 1.0)
    sizes: Counter[str] = Counter()
    for construct in CONSTRUCTED:
        data = await asyncio.to_thread(construct, scale)
        sizes[construct.__name__] = len(data)
        await run_all(send(target, tally, data, number) for number in target.scale([0.9], [0.0, 0.3, 0.9]))
    tally.notes["bytes"] = dict(sizes)


async def constructed_photos(target: Target, tally: Tally) -> None:
    """Stylize constructed images."""
    await _send_constructed(target, tally, _as_job)


async def constructed_pictures(target: Target, tally: Tally) -> None:
    """Encode, classify and measure constructed images."""
    await _send_constructed(target, tally, _as_pictures)
