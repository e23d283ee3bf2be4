"""The evaluator as a real process on real exports of `pocket`, behind a real server with a scripted optimizer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import onnx
import psutil
import pytest
import pytest_asyncio
import torch
from clipstyler_server.api.server import ENCODER_SERVICE
from clipstyler_server.app import App
from clipstyler_server.start_checks import ServerStartError
from clipstyler_server.workers.engine import WorkerState
from clipstyler_server.workers.messages import TaskEvent
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import numpy_helper

from clipstyler import imaging
from clipstyler.encoders import registry
from clipstyler.encoders.onnx.prepare import Preparation, prepare
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation import zero_shot
from clipstyler.events import Result
from clipstyler.v1 import encoder_service_pb2 as pb2
from clipstyler.v1 import server_service_pb2
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceStub
from tests.service import scripted
from tests.service.conftest import start
from tests.service.harness import (
    Harness,
    details,
    eventually,
    fields,
    photo,
    reason,
    refusal,
    request,
    settings,
    status_of,
)
from tests.service.relay import relayed

CUT_TEXT = "black pencil " * 38  # longer than the encoders read
TOLERANCE = 1e-5  # of a value of a unit embedding, whatever else was in its batch


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def evaluating_settings(cache: Path, **changes: object) -> dict[str, object]:
    return {"encoder_sets": "pocket", "evaluator": True, "cache_dir": str(cache), "report_timeout_s": 60} | changes


async def start_evaluating(cache: Path, **changes: object) -> Harness:
    harness = await start(scripted.make, **evaluating_settings(cache, **changes))
    await eventually(lambda: harness.app.evaluator.state is WorkerState.READY, 120)
    return harness


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def evaluating(cache: Path) -> AsyncIterator[Harness]:
    harness = await start_evaluating(cache)
    yield harness
    await harness.stop()


@pytest.fixture
def stub(evaluating: Harness) -> EncoderServiceStub:
    evaluating.count_from_here()
    return EncoderServiceStub(evaluating.channel)


def rows(response: pb2.EncodeTextResponse | pb2.EncodeImageResponse) -> np.ndarray:
    return np.array([embedding.values for embedding in response.embeddings])


async def test_the_active_backend_is_reported_and_torch_is_not_loaded(evaluating: Harness) -> None:
    told = (await evaluating.info()).evaluator
    assert [(p.encoder_set, p.precision) for p in told.backends] == [("pocket", "fp32")]
    assert told.backends[0].backend.startswith("onnx-")
    assert told.state == server_service_pb2.ServerInfo.Worker.STATE_IDLE
    assert evaluating.metric("evaluator_provider", encoder_set="pocket", backend=told.backends[0].backend) == 1
    loaded = {Path(m.path).name for m in psutil.Process(evaluating.app.evaluator.pid).memory_maps()}
    assert not [name for name in loaded if name.startswith("libtorch")]
    assert [name for name in loaded if "onnxruntime" in name]


async def test_texts_get_unit_embeddings_with_dimension_and_digest(stub: EncoderServiceStub) -> None:
    answer = await stub.EncodeText(pb2.EncodeTextRequest(texts=["fire", "  a  stone wall "]))
    made = rows(answer)
    assert made.shape == (2, answer.encoder.dimension)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
    assert answer.encoder.digest == registry.load("pocket").clip.digest


async def test_embeddings_do_not_depend_on_what_else_is_in_the_batch(stub: EncoderServiceStub) -> None:
    texts = ["fire", "a very long description of a stone wall in the morning light by the sea", "neon", "ice"] * 4
    images = [photo(40 + 9 * i, 64) for i in range(6)]
    alone = [rows(await stub.EncodeText(pb2.EncodeTextRequest(texts=[text])))[0] for text in texts[:4]]
    together = rows(await stub.EncodeText(pb2.EncodeTextRequest(texts=texts)))
    crowd = await asyncio.gather(*(stub.EncodeText(pb2.EncodeTextRequest(texts=[text])) for text in texts))
    assert np.abs(together - np.array(alone * 4)).max() <= TOLERANCE
    assert np.abs(np.array([rows(answer)[0] for answer in crowd]) - together).max() <= TOLERANCE
    single = [rows(await stub.EncodeImage(pb2.EncodeImageRequest(images=[image])))[0] for image in images]
    assert np.abs(rows(await stub.EncodeImage(pb2.EncodeImageRequest(images=images))) - single).max() <= TOLERANCE


async def test_a_text_direction_is_the_same_bits_from_everywhere(
    evaluating: Harness, stub: EncoderServiceStub, cache: Path
) -> None:
    asked = pb2.GetTextDirectionRequest(style_text="a caf\u00e9 in the rain")
    computed, again = await stub.GetTextDirection(asked), await stub.GetTextDirection(asked)
    other_form = await stub.GetTextDirection(pb2.GetTextDirectionRequest(style_text=" a  cafe\u0301 in the rain"))
    assert computed == again == other_form
    counted = {o: evaluating.metric("text_directions_total", origin=o) for o in ("computed", "front", "memory")}
    assert counted == {"computed": 1, "front": 2, "memory": 0}
    assert evaluating.metric("text_direction_cache_entries") >= 1
    restarted = await start_evaluating(cache)
    try:
        assert await EncoderServiceStub(restarted.channel).GetTextDirection(asked) == computed
        assert restarted.metric("text_directions_total", origin="store") == 1
    finally:
        await restarted.stop()


async def test_concurrent_requests_for_one_direction_compute_it_once(
    evaluating: Harness, stub: EncoderServiceStub
) -> None:
    asked = pb2.GetTextDirectionRequest(style_text="rust and rain")
    answers = await asyncio.gather(*(stub.GetTextDirection(asked) for _ in range(12)))
    assert all(answer == answers[0] for answer in answers)
    assert evaluating.metric("text_directions_total", origin="computed") == 1


async def test_classification_is_the_librarys(stub: EncoderServiceStub) -> None:
    labels = ["fire", "stone wall", "a pencil sketch"]
    answer = await stub.ClassifyImage(pb2.ClassifyImageRequest(image=photo(), labels=labels))
    expected = zero_shot.classify(imaging.decode(photo()), labels, TorchEncoders(registry.load("pocket")))
    assert [p.label for p in answer.predictions] == [p.label for p in expected]
    assert [p.probability for p in answer.predictions] == pytest.approx([p.probability for p in expected], abs=1e-3)


async def test_a_measured_stylization_repeats_by_its_seed(stub: EncoderServiceStub) -> None:
    def asked(seed: int) -> pb2.EvaluateStylizationRequest:
        images = {"content_image": photo(), "stylized_image": photo(64, 96)}
        return pb2.EvaluateStylizationRequest(**images, style_text="fire", seed=seed)

    first, again, other = [await stub.EvaluateStylization(asked(seed)) for seed in (1, 1, 2)]
    assert first == again
    assert (first.quality.seed, first.quality.protocol) == (1, 2)
    assert first.quality.patch_clip_score != other.quality.patch_clip_score
    assert first.quality.ssim == other.quality.ssim < 1


@pytest.mark.parametrize(
    ("method", "asked", "field"),
    [
        ("EncodeText", pb2.EncodeTextRequest(), "texts"),
        ("EncodeText", pb2.EncodeTextRequest(texts=["fire"] * 65), "texts"),
        ("EncodeText", pb2.EncodeTextRequest(texts=["fire", " "]), "texts[1]"),
        ("EncodeText", pb2.EncodeTextRequest(texts=["fire"], encoder_set="nobody"), "encoder_set"),
        ("EncodeImage", pb2.EncodeImageRequest(), "images"),
        ("EncodeImage", pb2.EncodeImageRequest(images=[photo()] * 65), "images"),
        ("EncodeImage", pb2.EncodeImageRequest(images=[photo(), b"no image"]), "images[1]"),
        ("GetTextDirection", pb2.GetTextDirectionRequest(), "style_text"),
        ("GetTextDirection", pb2.GetTextDirectionRequest(style_text="A photo"), "style_text"),
        ("ClassifyImage", pb2.ClassifyImageRequest(image=photo()), "labels"),
        ("ClassifyImage", pb2.ClassifyImageRequest(image=photo(), labels=["fire", "ice", "Fire"]), "labels[2]"),
        ("ClassifyImage", pb2.ClassifyImageRequest(image=photo(), labels=["fire", ""]), "labels[1]"),
        ("ClassifyImage", pb2.ClassifyImageRequest(image=photo()[:60], labels=["fire"]), "image"),
        (
            "EvaluateStylization",
            pb2.EvaluateStylizationRequest(content_image=photo(), stylized_image=b"x", style_text="fire"),
            "stylized_image",
        ),
        (
            "EvaluateStylization",
            pb2.EvaluateStylizationRequest(content_image=photo(), stylized_image=photo(), style_text="fire", seed=-1),
            "seed",
        ),
        ("EncodeText", pb2.EncodeTextRequest(texts=["fire", CUT_TEXT]), "texts[1]"),
        ("GetTextDirection", pb2.GetTextDirectionRequest(style_text=CUT_TEXT), "style_text"),
        ("GetTextDirection", pb2.GetTextDirectionRequest(style_text="fire", source_text=CUT_TEXT), "source_text"),
        ("ClassifyImage", pb2.ClassifyImageRequest(image=photo(), labels=["fire", CUT_TEXT]), "labels[1]"),
        (
            "EvaluateStylization",
            pb2.EvaluateStylizationRequest(content_image=photo(), stylized_image=photo(), style_text=CUT_TEXT),
            "style_text",
        ),
        (
            "EvaluateStylization",
            pb2.EvaluateStylizationRequest(
                content_image=photo(), stylized_image=photo(), style_text="fire", source_text=CUT_TEXT
            ),
            "source_text",
        ),
    ],
)
async def test_bad_input_is_refused_by_its_field_and_the_process_lives(
    evaluating: Harness, stub: EncoderServiceStub, method: str, asked: object, field: str
) -> None:
    pid = evaluating.app.evaluator.pid
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, method)(asked)
    assert fields(status_of(caught.value)) == [field]
    assert (evaluating.app.evaluator.pid, evaluating.app.evaluator.restarts) == (pid, 0)


async def test_every_bad_field_is_named_in_one_error(stub: EncoderServiceStub) -> None:
    asked = pb2.EncodeTextRequest(texts=["", "fire", "x" * 501], encoder_set="nobody")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EncodeText(asked)
    assert fields(status_of(caught.value)) == ["encoder_set", "texts[0]", "texts[2]"]
    labels = pb2.ClassifyImageRequest(image=photo(), labels=["fire", "Fire", ""])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ClassifyImage(labels)
    assert fields(status_of(caught.value)) == ["labels[1]", "labels[2]"]


async def test_bad_images_are_named_beside_bad_fields(stub: EncoderServiceStub) -> None:
    measured = pb2.EvaluateStylizationRequest(content_image=b"x", stylized_image=photo()[:60], style_text="", seed=-1)
    assert fields(await refusal(stub.EvaluateStylization(measured))) == [
        *("style_text", "seed", "content_image"),
    ]
    classified = pb2.ClassifyImageRequest(image=b"x", labels=[""])
    assert fields(await refusal(stub.ClassifyImage(classified))) == ["labels[0]", "image"]
    encoded = pb2.EncodeImageRequest(images=[b"x", photo(), b""], encoder_set="nobody")
    assert fields(await refusal(stub.EncodeImage(encoded))) == ["encoder_set", "images[0]", "images[2]"]


@pytest.mark.parametrize(("count", "named"), [(5, 5), (64, 64), (200, 65)])
async def test_a_caller_receives_every_bad_field_of_a_large_request(
    stub: EncoderServiceStub, count: int, named: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EncodeText(pb2.EncodeTextRequest(texts=["x" * 501] * count))
    status = status_of(caught.value)
    assert (caught.value.code(), reason(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    expected = (["texts"] if count > 64 else []) + [f"texts[{i}]" for i in range(count)]
    assert fields(status) == expected[:named]
    last = details(status, error_details_pb2.BadRequest).field_violations[-1].description
    assert last.startswith("and 137 more" if count == 200 else "has 501 characters")


async def test_very_many_texts_do_not_stop_the_event_loop(evaluating: Harness, stub: EncoderServiceStub) -> None:
    def seconds() -> float:
        return float(evaluating.metric("event_loop_pause_seconds_sum"))

    before = seconds()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EncodeText(pb2.EncodeTextRequest(texts=[""] * 500_000))
    assert fields(status_of(caught.value))[0] == "texts"
    await asyncio.sleep(0.1)
    assert seconds() - before < 1  # it was 3.8 s


async def until_flooded(harness: Harness, minimum: int) -> None:
    await eventually(lambda: harness.metric("evaluations_in_flight") >= minimum)


async def test_a_flood_of_one_caller_leaves_the_evaluator_to_others(
    evaluating: Harness, stub: EncoderServiceStub
) -> None:
    asked = pb2.EvaluateStylizationRequest(
        content_image=photo(512, 512), stylized_image=photo(512, 512), style_text="fire"
    )
    flood = [stub.EvaluateStylization(asked, timeout=60) for _ in range(20)]
    flood += [stub.EncodeText(pb2.EncodeTextRequest(texts=[f"flood {n}"] * 64), timeout=60) for n in range(100)]
    await until_flooded(evaluating, 32)
    most = 0.0
    async with relayed(evaluating.app.grpc_address) as channel:
        other = EncoderServiceStub(channel)
        for text in ("one", "two", "three"):
            await other.EncodeText(pb2.EncodeTextRequest(texts=[text]), timeout=5)
            most = max(most, evaluating.metric("evaluations_in_flight"))
        pending = sum(not call.done() for call in flood)
        measured = await other.EvaluateStylization(asked, timeout=20)
    assert measured.quality.seed == 0
    assert pending > 20
    assert most <= 49
    await asyncio.gather(*flood)
    assert evaluating.metric("evaluations_in_flight") == 0


async def test_what_a_caller_that_left_has_asked_for_counts_until_it_is_computed(
    evaluating: Harness, stub: EncoderServiceStub
) -> None:
    process = psutil.Process(evaluating.app.evaluator.pid)
    process.suspend()
    try:
        calls = [stub.EncodeText(pb2.EncodeTextRequest(texts=["left"])) for _ in range(100)]
        await until_flooded(evaluating, 48)
        for call in calls:
            call.cancel()
        await eventually(lambda: evaluating.app.api.bounds.calls.by_method.total() == 0)
        assert evaluating.metric("evaluations_in_flight") == 48
    finally:
        process.resume()
    await eventually(lambda: evaluating.metric("evaluations_in_flight") == 0)


async def test_the_health_of_the_encoder_service_follows_the_evaluator(evaluating: Harness) -> None:
    health = health_pb2_grpc.HealthStub(evaluating.channel)
    asked = health_pb2.HealthCheckRequest(service=ENCODER_SERVICE)
    assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
    psutil.Process(evaluating.app.evaluator.pid).kill()
    await eventually(evaluating.app.evaluator.problems)
    watch = health.Watch(asked)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    whole = await health.Check(health_pb2.HealthCheckRequest())
    assert whole.status == health_pb2.HealthCheckResponse.SERVING  # stylizations go on
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


@pytest.mark.parametrize("text", ["a look", CUT_TEXT])
async def test_every_result_carries_its_quality(evaluating: Harness, text: str) -> None:
    outcome = await evaluating.stylize(request(text), timeout=120)
    assert outcome.kinds()[-1] == "result"
    quality = outcome.result.result.quality
    assert quality.protocol == 2
    assert -1 <= quality.patch_clip_score <= 1
    assert outcome.only("warning") == []


async def test_without_an_evaluator_the_result_arrives_with_a_warning(evaluating: Harness) -> None:
    link = evaluating.app.evaluator
    restarts = link.restarts
    psutil.Process(link.pid).kill()
    await eventually(lambda: link.state is not WorkerState.READY)
    outcome = await evaluating.stylize(request())
    assert [warning.code for warning in outcome.only("warning")] == ["QUALITY_NOT_MEASURED"]
    assert not outcome.result.result.HasField("quality")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await EncoderServiceStub(evaluating.channel).EncodeText(pb2.EncodeTextRequest(texts=["fire"]))
    assert reason(status_of(caught.value)) == "WORKER_NOT_READY"
    await eventually(lambda: link.state is WorkerState.READY, 120)
    assert link.restarts == restarts + 1


async def test_a_worker_that_dies_while_its_result_is_measured_costs_nothing(
    evaluating: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = evaluating.app
    ask, take = app.evaluator.ask, app.optimizers.workers[0]._take
    measuring, finished, may_go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(task: object) -> object:
        measuring.set()
        await may_go_on.wait()
        return await ask(task)

    def watched(message: TaskEvent) -> None:
        take(message)
        if isinstance(message, TaskEvent) and isinstance(message.event, Result):
            finished.set()

    monkeypatch.setattr(app.evaluator, "ask", slow)
    monkeypatch.setattr(app.optimizers.workers[0], "_take", watched)
    _, _, running = evaluating.begin(request())
    _, _, waiting = evaluating.begin(request("another look"))
    await measuring.wait()
    await finished.wait()  # the result is drawn while its quality is measured
    psutil.Process(app.optimizers.workers[0].pid).kill()
    await eventually(lambda: app.optimizers.workers[0].restarts)
    may_go_on.set()
    for outcome in await asyncio.gather(running, waiting):
        assert outcome.kinds()[-1] == "result"
        assert outcome.result.result.quality.protocol == 2


async def test_pending_calls_fail_at_once_when_the_evaluator_dies(
    evaluating: Harness, stub: EncoderServiceStub
) -> None:
    link = evaluating.app.evaluator
    evaluator = psutil.Process(link.pid)
    evaluator.suspend()
    calls = [stub.EncodeText(pb2.EncodeTextRequest(texts=[f"text {number}"]), timeout=60) for number in range(5)]
    await eventually(lambda: len(link._waiting) == len(calls))
    evaluator.kill()
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (caught.value.code(), reason(status_of(caught.value))) == (
            grpc.StatusCode.UNAVAILABLE,
            "WORKER_CRASHED",
        )
    await eventually(lambda: link.state is WorkerState.READY, 120)
    assert len((await stub.EncodeText(pb2.EncodeTextRequest(texts=["fire"]))).embeddings) == 1


async def test_a_frozen_evaluator_is_replaced_though_callers_lose_patience_and_others_come(cache: Path) -> None:
    harness = await start_evaluating(cache, stall_timeout_s=1)
    try:
        link, stub = harness.app.evaluator, EncoderServiceStub(harness.channel)
        psutil.Process(link.pid).suspend()
        codes: list[grpc.StatusCode] = []
        async with asyncio.timeout(60):
            while grpc.StatusCode.OK not in codes:
                call = stub.EncodeText(pb2.EncodeTextRequest(texts=["fire"]), timeout=0.2)
                codes.append(await call.code())
                await asyncio.sleep(0.05)
        # Far fewer than may wait at once: each of them would be work that hides the silence.
        assert 0 < codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) < 15
        assert set(codes) == {
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.OK,
        }
        assert link.restarts == 1
    finally:
        await harness.stop()


async def serve_until_it_breaks(cache: Path, **changes: object) -> None:
    app = App(settings(**evaluating_settings(cache, **changes)), scripted.make)
    await app.start()
    try:
        async with asyncio.timeout(120):
            await app.run()
    finally:
        await app.stop(0)
        shutil.rmtree(app.settings.data_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA, where the provider is missing")
async def test_a_provider_that_was_asked_for_and_is_not_there_ends_the_start(cache: Path) -> None:
    with pytest.raises(ServerStartError, match="provider cuda does not become active: "):
        await serve_until_it_breaks(cache, providers="cuda")


@pytest.fixture
def other_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache whose export of `pocket` was made of other weights, with digests that fit: only the gate notices."""
    prepared = prepare(Preparation("pocket", str(tmp_path / "exports"), offline=True), 120)
    manifest_file = Path(prepared.directory) / "manifest.json"
    manifest = json.loads(manifest_file.read_text())
    graph = manifest["graphs"]["image"]
    model = onnx.load(manifest_file.with_name(graph["file"]))
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.CopyFrom(numpy_helper.from_array(np.flip(numpy_helper.to_array(weights)), weights.name))
    graph["sha256"] = hashlib.sha256(model.SerializeToString()).hexdigest()
    manifest_file.with_name(graph["file"]).write_bytes(model.SerializeToString())
    manifest_file.write_text(json.dumps(manifest))
    return tmp_path


async def test_an_export_that_does_not_agree_ends_the_start_or_is_replaced_by_pytorch_loudly(
    other_weights: Path,
) -> None:
    with pytest.raises(ServerStartError, match=r"cosine.*CLIPSTYLER_ON_MISMATCH"):
        await serve_until_it_breaks(other_weights, on_mismatch="refuse")
    server = await start_evaluating(other_weights, on_mismatch="pytorch")
    try:
        (told,) = (await server.info()).evaluator.backends
        assert told.backend == "torch-cpu"
        assert "cosine" in told.skipped[0]
        assert rows(await EncoderServiceStub(server.channel).EncodeText(pb2.EncodeTextRequest(texts=["fire"]))).any()
    finally:
        await server.stop()


async def test_calls_that_wait_for_the_evaluator_end_in_the_servers_words_when_it_stops(cache: Path) -> None:
    harness = await start_evaluating(cache)
    stub, asked = EncoderServiceStub(harness.channel), []

    async def never(task: object) -> None:
        asked.append(task)
        await asyncio.Event().wait()

    harness.app.evaluator.ask = never
    calls = [
        stub.EncodeText(pb2.EncodeTextRequest(texts=["fire"])),
        stub.EncodeImage(pb2.EncodeImageRequest(images=[photo()])),
        stub.GetTextDirection(pb2.GetTextDirectionRequest(style_text="nobody asked for this before")),
        stub.ClassifyImage(pb2.ClassifyImageRequest(image=photo(), labels=["a cat", "a dog"])),
        stub.EvaluateStylization(
            pb2.EvaluateStylizationRequest(content_image=photo(), stylized_image=photo(), style_text="fire")
        ),
    ]
    await eventually(lambda: len(asked) == len(calls))
    await harness.stop()
    statuses = [await refusal(call) for call in calls]
    assert {(status.code, reason(status)) for status in statuses} == {
        (grpc.StatusCode.UNAVAILABLE.value[0], "DRAINING")
    }
    assert all(details(status, error_details_pb2.RetryInfo) for status in statuses)
