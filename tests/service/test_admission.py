"""Bad input is refused at once, names its field, disturbs nobody, and leaves the server as it was."""

from __future__ import annotations

import asyncio
import math
import random
import time

import grpc
import pytest

from clipstyler.v1.options_pb2 import LossWeights, PreviewOptions, StylizationOptions
from tests.service.harness import (
    eventually,
    fields,
    huge_header,
    noise_photo,
    photo,
    reason,
    request,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


def options(**values: object) -> dict[str, object]:
    return {"options": StylizationOptions(**values)}


def weights(**values: float) -> dict[str, object]:
    return options(weights=LossWeights(**values))


def previews(**values: object) -> dict[str, object]:
    return {"previews": PreviewOptions(**values)}


BAD = {
    "no image": ("image", {"image": b""}),
    "not an image": ("image", {"image": b"GIF89 this is none"}),
    "a truncated header": ("image", {"image": photo()[:20]}),
    "truncated pixels, PNG": ("image", {"image": noise_photo(200, 200)[:-5000]}),
    "truncated pixels, JPEG": ("image", {"image": noise_photo(400, 400, "JPEG")[:30_000]}),
    "a header that claims 900 megapixels": ("image", {"image": huge_header()}),
    "an empty text": ("style_text", {"style_text": ""}),
    "a blank text": ("style_text", {"style_text": " \n "}),
    "a text too long": ("style_text", {"style_text": "x" * 501}),
    "an empty source": ("source_text", {"source_text": ""}),
    "a source too long": ("source_text", {"source_text": "x" * 501}),
    "a style that is the source": ("style_text", {"style_text": "a sketch", "source_text": "A  Sketch"}),
    "a style that is the default source": ("style_text", {"style_text": "a photo"}),
    "no steps": ("options.steps", options(steps=0)),
    "too many steps": ("options.steps", options(steps=501)),
    "a size too small": ("options.size", options(size=63)),
    "a size too large": ("options.size", options(size=1025)),
    "no patches": ("options.patches", options(patches=0)),
    "too many patches": ("options.patches", options(patches=257)),
    "a seed too large": ("options.seed", options(seed=2**63)),
    "encoders that are not loaded": ("options.encoders", options(encoders="missing")),
    "a crop larger than the fitted image": ("options.crop_size", options(crop_size=50)),
    "a crop too small": ("options.crop_size", options(crop_size=7)),
    "a learning rate of 0": ("options.learning_rate", options(learning_rate=0)),
    "a learning rate that is no number": ("options.learning_rate", options(learning_rate=math.nan)),
    "a threshold too large": ("options.threshold", options(threshold=2.5)),
    "a contrast too large": ("options.contrast", options(contrast=5)),
    "a weight that is no number": ("options.weights.patch", weights(patch=math.nan)),
    "a negative weight": ("options.weights.direction", weights(direction=-1)),
    "an infinite weight": ("options.weights.content", weights(content=math.inf)),
    "a negative weight of the variation": ("options.weights.total_variation", weights(total_variation=-1)),
    "every term off": ("options.weights", weights(direction=0, patch=0, content=0, total_variation=0)),
    "an unknown preset": ("options.preset", options(preset=99)),
    "an unknown TV form": ("options.tv_form", options(tv_form=99)),
    "an unknown fill": ("options.augment_fill", options(augment_fill=99)),
    "an unknown result format": ("result_format", {"result_format": 99}),
    "an unknown preview format": ("previews.format", previews(format=99)),
    "a preview too small": ("previews.max_size", previews(max_size=15)),
    "a preview too large": ("previews.max_size", previews(max_size=513)),
}


async def test_every_bad_field_is_named_within_a_second_while_a_long_job_runs(server, gate):
    _, events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    wrong = {}
    for name, (field, changes) in BAD.items():
        begun = time.monotonic()
        outcome = await server.stylize(request(**changes))
        seconds = time.monotonic() - begun
        seen = (outcome.kinds(), outcome.status and outcome.status.code, fields(outcome.status))
        if seen != ([], INVALID, [field]) or reason(outcome.status) != "INVALID_FIELD" or seconds > 1:
            wrong[name] = (seen, seconds)
    assert wrong == {}

    info = await server.info()
    assert (info.queue.running, info.queue.waiting, info.workers[0].restarts) == (1, 0, 0)
    gate.touch()
    assert (await running).status is None


async def test_everything_that_is_wrong_is_told_at_once(server):
    bad = request("", image=b"x", **options(steps=0, encoders=""), **previews(max_size=1), result_format=99)
    outcome = await server.stylize(bad)

    assert fields(outcome.status) == ["image", "previews.max_size", "result_format", "style_text", "options.steps"]


async def test_long_texts_in_errors_do_not_break_their_delivery(server):
    text = "\N{CJK UNIFIED IDEOGRAPH-5B57}" * 500
    bad = request(text, source_text=text, image=b"x", **options(encoders=""), **previews(max_size=1), result_format=99)
    for outcome in (
        await server.stylize(bad),
        await server.stylize(request(**options(encoders="\N{CJK UNIFIED IDEOGRAPH-5B57}" * 100_000))),
    ):
        assert reason(outcome.status) == "INVALID_FIELD"
        assert outcome.status.message.endswith("...")


CORRUPTED = {name: noise_photo(48, 32, name) for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")}


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("name", CORRUPTED)
async def test_a_corrupted_photo_is_decoded_or_refused_and_nothing_else(server, name):
    rng = random.Random(name)
    for _ in range(40):
        image = bytearray(CORRUPTED[name])
        for _ in range(rng.randint(1, 6)):
            image[rng.randrange(rng.choice([40, len(image)]))] = rng.randrange(256)
        asked = request(image=bytes(image[: rng.choice([len(image), rng.randrange(len(image))])]), **options(steps=1))
        outcome = await server.stylize(asked)
        assert outcome.status is None or fields(outcome.status) == ["image"]

    assert server.app.supervisor.restarts == 0


async def test_unknown_encoders_are_answered_with_the_available_ones(server):
    outcome = await server.stylize(request(**options(encoders="missing")))

    assert "scripted, other" in outcome.status.message


async def test_a_photo_over_the_limit_of_bytes_is_refused_by_us_or_by_grpc_itself(serve):
    server = await serve(max_image_bytes=100_000)
    over = await server.stylize(request(image=photo() + bytes(100_000)))
    far_over = await server.stylize(request(image=photo() + bytes(2_000_000)))

    assert fields(over.status) == ["image"]
    assert far_over.status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert (await server.stylize(request())).status is None


async def test_the_limits_are_the_settings(serve):
    server = await serve(max_steps=5, max_size=64, max_patches=3, max_text_characters=10, max_image_pixels=10_000)
    for field, changes in {
        "options.steps": options(steps=6),
        "options.size": options(size=65),
        "options.patches": options(patches=4),
        "style_text": {"style_text": "x" * 11},
        "image": {"image": photo(101, 100)},
    }.items():
        assert fields((await server.stylize(request(**({"style_text": "x"} | changes)))).status) == [field]

    limits = (await server.info()).limits
    assert (limits.max_steps, limits.max_size, limits.max_patches, limits.max_text_characters) == (5, 64, 3, 10)
    assert limits.max_image_pixels == 10_000


async def test_a_photo_that_kills_the_decoder_is_refused_and_the_next_one_is_served(server):
    decoder = server.app.decoder
    killer = asyncio.create_task(_kill_decoders(decoder))
    # Large enough that it is still being decoded when the decoder dies, both times.
    outcome = await server.stylize(request(image=noise_photo(3000, 3000, "JPEG")))
    killer.cancel()

    assert fields(outcome.status) == ["image"]
    assert (await server.stylize(request())).status is None


async def _kill_decoders(decoder) -> None:
    while True:
        if decoder._answers:
            decoder._child.kill()
        await asyncio.sleep(0.002)


async def test_a_decoder_that_was_killed_while_idle_is_replaced_unnoticed(server):
    decoder = server.app.decoder
    decoder._child.kill()
    await decoder._child.ended.wait()

    assert (await server.stylize(request())).status is None


async def test_a_photo_that_takes_too_long_to_decode_is_refused(serve):
    server = await serve(decode_timeout_s=0.001)
    outcome = await server.stylize(request(image=noise_photo(2000, 2000, "JPEG")))

    assert fields(outcome.status) == ["image"]
