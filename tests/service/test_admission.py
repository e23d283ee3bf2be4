"""Bad input is rejected at once with its fields named, affects no other job, and leaves the server unchanged."""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from pathlib import Path

import grpc
import pytest
from clipstyler_server.workers.engine import WorkerState

from clipstyler.v1.options_pb2 import PreviewOptions, StylizationOptions
from tests.service.harness import (
    eventually,
    fields,
    huge_header,
    noise_photo,
    order,
    photo,
    reason,
    refusal,
    request,
)

IMAGES = Path(__file__).parents[1] / "images"
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


def options(**values: object) -> dict[str, object]:
    return {"options": StylizationOptions(**values)}


def weights(**values: float) -> dict[str, object]:
    return options(**{f"weight_{name}": value for name, value in values.items()})


def previews(**values: object) -> dict[str, object]:
    return {"previews": PreviewOptions(**values)}


BAD = {
    "no image": ("spec.image", {"image": b""}),
    "not an image": ("spec.image", {"image": b"GIF89 this is none"}),
    "a truncated header": ("spec.image", {"image": photo()[:20]}),
    "truncated pixels, PNG": ("spec.image", {"image": noise_photo(200, 200)[:-5000]}),
    "truncated pixels, JPEG": ("spec.image", {"image": noise_photo(400, 400, "JPEG")[:30_000]}),
    "a header that claims 900 megapixels": ("spec.image", {"image": huge_header()}),
    "an empty text": ("spec.style_text", {"style_text": ""}),
    "a blank text": ("spec.style_text", {"style_text": " \n "}),
    "a text too long": ("spec.style_text", {"style_text": "x" * 501}),
    "an empty source": ("spec.source_text", {"source_text": ""}),
    "a source too long": ("spec.source_text", {"source_text": "x" * 501}),
    "a style that is the source": ("spec.style_text", {"style_text": "a sketch", "source_text": "A  Sketch"}),
    "a style that is the default source": ("spec.style_text", {"style_text": "a photo"}),
    "no steps": ("spec.options.steps", options(steps=0)),
    "too many steps": ("spec.options.steps", options(steps=501)),
    "a size too small": ("spec.options.size", options(size=63)),
    "a size too large": ("spec.options.size", options(size=1025)),
    "no patches": ("spec.options.patches", options(patches=0)),
    "too many patches": ("spec.options.patches", options(patches=257)),
    "a negative seed": ("spec.options.seed", options(seed=-1)),
    "encoders that are not loaded": ("spec.options.encoder_set", options(encoder_set="missing")),
    "a crop larger than the fitted image": ("spec.options.crop_size", options(crop_size=50)),
    "a crop too small": ("spec.options.crop_size", options(crop_size=7)),
    "a learning rate of 0": ("spec.options.learning_rate", options(learning_rate=0)),
    "a learning rate that is no number": ("spec.options.learning_rate", options(learning_rate=math.nan)),
    "a threshold too large": ("spec.options.threshold", options(threshold=2.5)),
    "a contrast too large": ("spec.options.contrast", options(contrast=5)),
    "a weight that is no number": ("spec.options.weight_patch", weights(patch=math.nan)),
    "a negative weight": ("spec.options.weight_direction", weights(direction=-1)),
    "an infinite weight": ("spec.options.weight_content", weights(content=math.inf)),
    "a negative weight of the variation": ("spec.options.weight_tv", weights(tv=-1)),
    "every term off": ("spec.options.weight_patch", weights(direction=0, patch=0, content=0, tv=0)),
    "an unknown preset": ("spec.options.preset", options(preset=99)),
    "an unknown TV form": ("spec.options.tv_form", options(tv_form=99)),
    "an unknown fill": ("spec.options.augment_fill", options(augment_fill=99)),
    "an unknown result format": ("spec.result_format", {"result_format": 99}),
    "an unknown preview format": ("spec.previews.format", previews(format=99)),
    "a preview too small": ("spec.previews.max_size", previews(max_size=15)),
    "a preview too large": ("spec.previews.max_size", previews(max_size=513)),
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
    assert (info.queue.running_count, info.queue.waiting_count, info.workers[0].restart_count) == (1, 0, 0)
    gate.touch()
    assert (await running).status is None


async def test_every_bad_field_is_named_in_one_error(server):
    bad = request("", image=b"x", **options(steps=0, encoder_set=""), **previews(max_size=1), result_format=99)
    outcome = await server.stylize(bad)

    assert fields(outcome.status) == [
        "spec.style_text",
        "spec.previews.max_size",
        "spec.result_format",
        "spec.options.steps",
        "spec.image",
    ]


async def test_long_texts_in_errors_do_not_break_their_delivery(server):
    text = "\N{CJK UNIFIED IDEOGRAPH-5B57}" * 500
    bad = request(
        text, source_text=text, image=b"x", **options(encoder_set=""), **previews(max_size=1), result_format=99
    )
    for outcome in (
        await server.stylize(bad),
        await server.stylize(request(**options(encoder_set="\N{CJK UNIFIED IDEOGRAPH-5B57}" * 100_000))),
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
        assert outcome.status is None or fields(outcome.status) == ["spec.image"]

    assert server.app.optimizers.workers[0].restarts == 0


async def test_unknown_encoders_are_answered_with_the_available_ones(server):
    outcome = await server.stylize(request(**options(encoder_set="missing")))

    assert "scripted, other" in outcome.status.message


async def test_a_photo_over_the_limit_of_bytes_is_refused_by_us_or_by_grpc_itself(serve):
    server = await serve(max_image_bytes=100_000)
    over = await server.stylize(request(image=photo() + bytes(100_000)))
    far_over = await server.stylize(request(image=photo() + bytes(2_000_000)))

    assert fields(over.status) == ["spec.image"]
    assert far_over.status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert (await server.stylize(request())).status is None


async def test_a_heic_photo_is_read_only_where_the_operator_wants_it(serve):
    heic = request(image=(IMAGES / "heic_ramp.heic").read_bytes())
    refused = (await (await serve()).stylize(heic)).status

    assert fields(refused) == ["spec.image"]
    assert "HEIC" in refused.message
    assert (await (await serve(read_heic=True)).stylize(heic)).status is None


async def test_the_limits_are_the_settings(serve):
    server = await serve(max_steps=5, max_size=64, max_patches=3, max_text_characters=10, max_image_pixels=10_000)
    for field, changes in {
        "spec.options.steps": options(steps=6),
        "spec.options.size": options(size=65),
        "spec.options.patches": options(patches=4),
        "spec.style_text": {"style_text": "x" * 11},
        "spec.image": {"image": photo(101, 100)},
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

    assert fields(outcome.status) == ["spec.image"]
    assert (await server.stylize(request())).status is None


async def _kill_decoders(decoder) -> None:
    while True:
        for process in decoder.processes:
            if decoder.busy and process.state is WorkerState.READY:
                process.kill()
        await asyncio.sleep(0.002)


async def test_a_decoder_that_was_killed_while_idle_is_replaced_unnoticed(server):
    decoder = server.app.decoder
    for process in decoder.processes:
        process.kill()

    assert (await server.stylize(request())).status is None


async def test_a_photo_that_takes_too_long_to_decode_is_refused(serve):
    server = await serve(decode_timeout_s=0.001)
    outcome = await server.stylize(request(image=noise_photo(2000, 2000, "JPEG")))

    assert fields(outcome.status) == ["spec.image"]


async def test_a_job_that_would_take_too_much_memory_is_refused_by_its_largest_option(serve):
    server = await serve(max_job_memory_bytes=10**9)
    large = noise_photo(1024, 1024, "JPEG")
    for field, asked in {
        "spec.options.size": options(size=1024, patches=2),
        "spec.options.patches": options(patches=256),
        "spec.options.crop_size": options(size=700, patches=100, crop_size=700),
    }.items():
        status = (await server.stylize(request(image=large, **asked))).status
        assert fields(status) == [field]
        assert "a job of this server may take 1.0 GB" in status.message
    assert (await server.info()).limits.max_job_memory_bytes == 10**9
    assert (await server.stylize(request(image=large))).status is None


async def test_bounds_that_are_reported_are_those_of_the_server(server):
    asked = request(**options(size=2000, crop_size=2000, steps=1000, patches=500), **previews(max_size=2000))
    status = (await server.stylize(asked)).status
    assert sorted(fields(status)) == [
        "spec.options.crop_size",
        "spec.options.patches",
        "spec.options.size",
        "spec.options.steps",
        "spec.previews.max_size",
    ]
    for limit in ("at most 1024", "at most 256", "at most 500", "at most 512"):
        assert limit in status.message


@pytest.mark.parametrize(
    ("seconds", "nanos", "problem"),
    [(0, 0, "above 0 s"), (-1, 0, "above 0 s"), (1, -1, "Sign"), (1, 2 * 10**9, "Nanos"), (10**12, 0, "Seconds")],
)
async def test_a_timeout_that_is_none_is_refused(server, seconds, nanos, problem):
    asked = order()
    asked.timeout.seconds, asked.timeout.nanos = seconds, nanos
    refused = await refusal(server.create(asked))
    assert (reason(refused), fields(refused)) == ("INVALID_FIELD", ["timeout"])
    assert problem in refused.message


async def test_bad_fields_around_the_spec_are_named_with_those_inside(server):
    asked = order("", image=b"x", priority=77, request_id="7", **options(steps=0))
    asked.timeout.FromSeconds(-1)
    assert sorted(fields(await refusal(server.create(asked)))) == [
        "priority",
        "request_id",
        "spec.image",
        "spec.options.steps",
        "spec.style_text",
        "timeout",
    ]
    unknown = order("", upload="uploads/" + "0" * 64, **options(steps=0))
    assert sorted(fields(await refusal(server.create(unknown)))) == [
        "spec.options.steps",
        "spec.style_text",
        "spec.upload",
    ]


async def test_ids_are_accepted_in_capital_letters(server):
    created = await server.create(order(request_id=str(uuid.uuid4()).upper()))
    name = created.name.replace(created.name.split("/")[1], created.name.split("/")[1].upper())
    assert (await server.get(name)).name == created.name
    await server.watch(created.name)
