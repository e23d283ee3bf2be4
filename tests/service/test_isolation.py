"""With the real algorithm and the bundled encoders: jobs know nothing of each other, and repetitions give the same."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re

import psutil
import pytest_asyncio
from clipstyler_server.workers.engine import WorkerState
from clipstyler_server.workers.optimizer.default import torch_workload
from PIL import Image

from clipstyler.v1.encoder_service_pb2 import GetTextDirectionRequest
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceStub
from clipstyler.v1.image_pb2 import IMAGE_FORMAT_PNG
from clipstyler.v1.options_pb2 import PreviewOptions, StylizationOptions
from tests.service.conftest import start
from tests.service.harness import eventually, photo, request


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_server():
    harness = await start(torch_workload, encoder_sets="pocket")
    yield harness
    await harness.stop()


async def test_a_then_b_then_a_again_gives_a_s_bytes_again(server):
    a = request("a sketch with black pencil")
    b = request("fire", image=photo(64, 80), options=StylizationOptions(seed=7, steps=2))
    first = (await server.stylize(a)).result
    other = (await server.stylize(b)).result
    second = (await server.stylize(a)).result

    assert first.image_data == second.image_data
    assert first.result.losses == second.result.losses
    assert first.image_data != other.image_data
    assert (first.result.device, first.result.provider, first.result.thread_count) == ("cpu", "torch-cpu", 1)
    assert {"torch", "numpy", "pillow", "clipstyler", "accelerations"} <= set(first.result.versions)
    assert re.fullmatch("[0-9a-f]{64}", first.result.models[0].digest)


async def test_jobs_that_wait_for_each_other_give_the_bytes_they_give_alone(server):
    asked = [request("fire", options=StylizationOptions(seed=seed)) for seed in (1, 2, 1)]
    together = [outcome.result.image_data for outcome in await asyncio.gather(*map(server.stylize, asked))]

    assert together[0] == together[2]
    assert together[0] != together[1]
    assert [(await server.stylize(one)).result.image_data for one in asked] == together


async def test_a_job_that_was_cancelled_leaves_no_trace_in_the_next(server):
    asked = request("fire")
    before = (await server.stylize(asked)).result.image_data
    call, events, task = server.begin(request("fire", options=StylizationOptions(steps=500)))
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    call.cancel()
    await eventually(lambda: server.metric("steps_after_cancel_count"))

    assert server.metric("steps_after_cancel_sum") <= 1
    assert (await server.stylize(asked)).result.image_data == before
    task.cancel()


async def test_alpha_comes_back_in_png(server):
    picture = Image.open(io.BytesIO(photo())).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    result = (await server.stylize(request("fire", image=buffer.getvalue(), result_format=IMAGE_FORMAT_PNG))).result

    assert Image.open(io.BytesIO(result.image_data)).mode == "RGBA"
    assert hashlib.sha256(result.image_data).digest() == result.result.image.sha256


async def test_previews_do_not_change_the_result(server):
    without = request("fire", previews=PreviewOptions(every_steps=0))
    many = request("fire", previews=PreviewOptions(every_steps=1))

    assert (await server.stylize(without)).result.image_data == (await server.stylize(many)).result.image_data


async def test_a_worker_that_was_started_again_gives_the_same_bytes(server):
    asked = request("fire")
    before = (await server.stylize(asked)).result.image_data
    psutil.Process(server.app.optimizers.workers[0].pid).kill()
    await eventually(server.app.scheduler.problems)
    await eventually(lambda: not server.app.scheduler.problems(), timeout_s=90)

    assert (await server.stylize(asked)).result.image_data == before


async def test_neither_an_evaluator_nor_a_cached_direction_changes_a_byte(server, tmp_path):
    asked = request("stained glass")
    alone = (await server.stylize(asked)).result.image_data
    cached = (await server.stylize(asked)).result.image_data
    measuring = await start(torch_workload, encoder_sets="pocket", evaluator=True, cache_dir=str(tmp_path))
    try:
        await eventually(lambda: measuring.app.evaluator.state is WorkerState.READY, 120)
        stub = EncoderServiceStub(measuring.channel)
        await stub.GetTextDirection(GetTextDirectionRequest(style_text="stained glass"))
        beside = (await measuring.stylize(asked)).result
    finally:
        await measuring.stop()

    assert beside.result.HasField("quality")
    stored = [path.read_bytes() for path in (tmp_path / "directions").rglob("*") if path.is_file()]
    assert any(b"torch-cpu" in data for data in stored)  # what the optimizer used
    assert any(b"onnx-cpu" in data for data in stored)  # what the evaluator used
    assert {alone, cached} == {beside.image_data}
