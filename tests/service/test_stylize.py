"""The one-shot call from its first event to its last."""

from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image

from clipstyler.v1 import options_pb2
from clipstyler.v1.image_pb2 import IMAGE_FORMAT_JPEG, IMAGE_FORMAT_PNG, IMAGE_FORMAT_WEBP
from clipstyler.v1.options_pb2 import PreviewOptions, StylizationOptions
from clipstyler.v1.stylization_pb2 import StylizationSpec
from clipstyler.v1.stylization_service_pb2 import StylizeRequest
from tests.service import scripted
from tests.service.harness import photo, request


async def test_a_stylization_streams_all_its_events_in_order(server):
    outcome = await server.stylize(request("step=0.05 x", previews=PreviewOptions(every_steps=2)))

    assert outcome.status is None
    kinds = outcome.kinds()
    assert [kinds[0], kinds[1], kinds[-1]] == ["queued", "started", "result"]
    assert [progress.step for progress in outcome.only("progress")] == [1, 2, 3]
    assert [preview.step for preview in outcome.only("preview")] == [0, 2]
    sequences = [event.sequence for event in outcome.events]
    assert sequences == sorted(set(sequences))
    assert len({event.stylization for event in outcome.events}) == 1
    assert outcome.events[0].stylization.startswith("stylizations/")


async def test_of_very_fast_steps_not_all_are_reported_but_all_are_counted(serve):
    server = await serve(progress_interval_s=10)
    asked = request("quick", options=StylizationOptions(steps=25), previews=PreviewOptions(every_steps=10))
    outcome = await server.stylize(asked)
    steps = [progress.step for progress in outcome.only("progress")]
    assert steps[-1] == 25
    assert set(steps) <= {1, 10, 20, 25}  # a reader may get the latest only
    assert server.metric("step_duration_seconds_count") == 25


async def test_the_preparation_is_progress_with_a_total_and_an_expected_end_that_comes_nearer(serve):
    server = await serve()
    first = await server.stylize(request("step=0.02 parts=4 x"))
    prepared = first.only("preparing")
    assert {part.parts for part in prepared} == {4}
    assert prepared[-1].part == 4  # a reader may get the latest only
    assert not any(part.HasField("remaining") for part in prepared)  # nothing was measured yet
    kinds = first.kinds()
    assert kinds.index("started") < kinds.index("preparing") < kinds.index("progress")

    again = (await server.stylize(request("step=0.02 parts=4 x"))).only("preparing")
    left = [part.remaining.ToNanoseconds() for part in again]
    assert all(0 < nanoseconds < 5e9 for nanoseconds in left)
    assert left == sorted(left, reverse=True)


async def test_the_result_contains_everything_needed_to_reproduce_it(server):
    asked = request("some   look", source_text="a  Painting", options=StylizationOptions(weight_patch=7))
    event = (await server.stylize(asked)).result
    spec, result = event.spec, event.result

    options = spec.options
    assert (spec.style_text, spec.source_text, options.seed) == ("some look", "a Painting", 1)
    unset = {field.name for field in options.DESCRIPTOR.fields if not getattr(options, field.name)}
    assert unset == {
        "enlarge",
        "crop_overhang",
        "text_share",
        "distinctness",
        "input_noise",
        "warm_up",
        "stop_patch_loss",
        "stop_patience",
        "keep_style",
    }
    assert all(options.HasField(name) for name in ("enlarge", "threshold_rejection", "crop_size", "seed"))
    weights = (options.weight_direction, options.weight_patch, options.weight_content, options.weight_tv)
    assert weights == (500, 7, 150, 2e-3)
    assert (options.encoder_set, options.crop_size, options.template_set) == ("scripted", 16, "openai-imagenet")
    assert [(model.name, model.digest) for model in result.models] == [tuple(model) for model in scripted.MODELS]
    assert dict(result.versions) == scripted.VERSIONS
    assert (result.device, result.provider, result.thread_count) == ("cpu", "scripted", 1)
    assert result.losses.total == scripted.LOSSES.total
    assert result.timings.decode.ToTimedelta().total_seconds() > 0
    assert result.timings.encode.ToTimedelta().total_seconds() > 0

    spec.image = asked.spec.image
    repeated = StylizeRequest(spec=spec)
    assert (await server.stylize(repeated)).result.image_data == event.image_data


async def test_a_seed_is_drawn_and_reported_at_once_if_none_is_given(server):
    asked = request()
    asked.spec.options.ClearField("seed")
    first, second = await server.stylize(asked), await server.stylize(asked)

    for outcome in (first, second):
        assert outcome.only("queued")[0].seed == outcome.result.spec.options.seed
    assert first.result.spec.options.seed != second.result.spec.options.seed
    assert first.result.result.image.sha256 != second.result.result.image.sha256


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "PNG"), (IMAGE_FORMAT_PNG, "PNG"), (IMAGE_FORMAT_WEBP, "WEBP"), (IMAGE_FORMAT_JPEG, "JPEG")],
)
async def test_result_and_previews_come_in_the_encoding_asked_for(server, number, name):
    previews = PreviewOptions(every_steps=1, max_size=32, format=number)
    outcome = await server.stylize(request("step=0.05 x", result_format=number, previews=previews))

    image, data = outcome.result.result.image, outcome.result.image_data
    opened = Image.open(io.BytesIO(data))
    assert (opened.format, opened.size) == (name, (64, 43))
    assert (image.width_px, image.height_px, image.size_bytes) == (64, 43, len(data))
    assert image.sha256 == hashlib.sha256(data).digest()
    shown = Image.open(io.BytesIO(outcome.only("preview")[0].image_data))
    assert (shown.format, shown.size) == (name if number else "JPEG", (32, 22))


async def test_no_previews_are_sent_when_none_are_wanted(server):
    outcome = await server.stylize(request(previews=PreviewOptions(every_steps=0)))

    assert outcome.status is None
    assert outcome.only("preview") == []


async def test_a_large_result_comes_in_chunks_and_no_message_is_over_3_mib(server):
    outcome = await server.stylize(request("side=1500 x"))

    image = outcome.result.result.image
    chunks = outcome.only("chunk")
    data = b"".join(chunk.data for chunk in chunks)
    offsets = [sum(len(chunk.data) for chunk in chunks[:number]) for number in range(len(chunks))]
    assert outcome.result.image_data == b""
    assert image.size_bytes == len(data) > 4 * 2**20
    assert hashlib.sha256(data).digest() == image.sha256
    assert [chunk.offset for chunk in chunks] == offsets
    assert Image.open(io.BytesIO(data)).size == (1500, 1500)
    assert outcome.kinds()[-len(chunks) - 1 :] == ["chunk"] * len(chunks) + ["result"]


async def test_a_photo_smaller_than_the_size_keeps_its_size_with_a_warning(server):
    kept = await server.stylize(request(image=photo(40, 30)))
    enlarged = await server.stylize(request(image=photo(40, 30), options=StylizationOptions(enlarge=True)))

    assert [warning.code for warning in kept.only("warning")] == ["PHOTO_SMALLER_THAN_SIZE"]
    assert (kept.result.result.image.width_px, kept.result.result.image.height_px) == (40, 30)
    assert enlarged.only("warning") == []
    assert (enlarged.result.result.image.width_px, enlarged.result.result.image.height_px) == (64, 48)


async def test_what_the_worker_finds_worth_knowing_reaches_the_caller(server):
    outcome = await server.stylize(request("warning=TEXT_UNFAMILIAR x"))

    (warning,) = outcome.only("warning")
    assert (warning.code, warning.message) == ("TEXT_UNFAMILIAR", "something to know")
    assert outcome.kinds().index("warning") < outcome.kinds().index("progress")


async def test_a_quiet_stream_shows_that_it_lives(serve, gate):
    server = await serve(heartbeat_s=0.05)
    _, events, task = server.begin(request(f"hold={gate} x"))
    while sum(event.WhichOneof("event") == "heartbeat" for event in events) < 3:
        await server.info()
    gate.touch()

    outcome = await task
    assert outcome.kinds()[-1] == "result"
    sequences = [event.sequence for event in outcome.events]
    assert sequences == sorted(sequences)


async def test_the_encoders_asked_for_are_used(server):
    result = (await server.stylize(request(options=StylizationOptions(encoder_set="other")))).result

    assert result.spec.options.encoder_set == "other"


async def test_presets_set_size_steps_and_patches(serve):
    server = await serve(max_steps=300)
    paper = StylizationOptions(preset=options_pb2.PRESET_PAPER)
    asked = StylizeRequest(spec=StylizationSpec(image=photo(), style_text="x", options=paper))
    options = (await server.stylize(asked)).result.spec.options

    assert options.preset == options_pb2.PRESET_PAPER
    assert (options.size, options.steps, options.patches) == (512, 200, 64)
