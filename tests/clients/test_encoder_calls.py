"""The clients' calls of EncoderService and the commands `classify` and `evaluate`, against the real service."""

from __future__ import annotations

import json
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from clipstyler_cli.main import app
from clipstyler_client import AsyncClient, Client, InvalidRequestError, QualityReport
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner

from clipstyler.v1 import encoder_service_pb2 as pb2
from clipstyler.v1 import stylization_pb2
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceServicer, add_EncoderServiceServicer_to_server
from tests.clients.scripted_server import picture

INFO = pb2.EncoderInfo(encoder_set="pocket", digest="ab" * 32, dimension=2, backend="onnx-cpu", precision="fp32")
MEASURED = {"patch_clip_score": 0.25, "global_similarity": 0.5, "patch_similarity": 0.375, "content_distance": 2.0}
QUALITY = MEASURED | {"ssim": 0.75, "seed": 7, "protocol": 1}


class Scripted(EncoderServiceServicer):
    def EncodeText(self, request, context):
        rows = [pb2.Embedding(values=[1, len(text)]) for text in request.texts]
        return pb2.EncodeTextResponse(embeddings=rows, encoder=INFO)

    def EncodeImage(self, request, context):
        rows = [pb2.Embedding(values=[1, len(image)]) for image in request.images]
        return pb2.EncodeImageResponse(embeddings=rows, encoder=INFO)

    def GetTextDirection(self, request, context):
        source = request.source_text if request.HasField("source_text") else "default"
        values = [len(request.style_text), len(source)]
        return pb2.GetTextDirectionResponse(direction=pb2.Embedding(values=values), templates="plain@0", encoder=INFO)

    def ClassifyImage(self, request, context):
        if "" in request.labels:
            violation = error_details_pb2.BadRequest.FieldViolation(field="labels[1]", description="is empty")
            packed = any_pb2.Any()
            packed.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
            status = status_pb2.Status(code=3, message="labels[1]: is empty", details=[packed])
            context.abort_with_status(rpc_status.to_status(status))
        found = [pb2.ClassifyImageResponse.Prediction(label=label, probability=0.5) for label in request.labels]
        return pb2.ClassifyImageResponse(predictions=found, encoder=INFO)

    def EvaluateStylization(self, request, context):
        values = QUALITY | {"seed": request.seed}
        return pb2.EvaluateStylizationResponse(quality=stylization_pb2.QualityReport(**values), encoder=INFO)


@pytest.fixture(scope="module")
def target():
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_EncoderServiceServicer_to_server(Scripted(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(picture())
    return path


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_every_call_gives_plain_values(target: str, photo: Path) -> None:
    with Client(target) as client:
        texts = client.encoders.encode_text(["fire", "ice"])
        images = client.encoders.encode_image([photo, picture()])
        direction = client.encoders.text_direction("fire")
        quality = client.encoders.evaluate(photo, picture(), "fire", seed=7)
    assert (texts.vectors, texts.dimension, texts.digest) == (((1.0, 4.0), (1.0, 3.0)), 2, "ab" * 32)
    assert images.vectors[0] == images.vectors[1]
    assert (direction.vector, direction.templates) == ((4.0, 7.0), "plain@0")
    assert quality == QualityReport(**QUALITY)


async def test_the_async_client_makes_the_same_calls(target: str, photo: Path) -> None:
    async with AsyncClient(target) as client:
        found = await client.encoders.classify(photo, ["fire", "ice"])
        with pytest.raises(InvalidRequestError) as caught:
            await client.encoders.classify(photo, ["fire", ""])
    assert found == (("fire", 0.5), ("ice", 0.5))
    assert caught.value.violations[0].field == "labels[1]"


def test_both_commands_work_through_a_server(target: str, photo: Path) -> None:
    classified = run("classify", photo, "fire", "ice", "--server", target, "--json")
    evaluated = run("evaluate", photo, photo, "fire", "--server", target, "--seed", 7, "--json")
    predictions = [{"label": label, "probability": 0.5} for label in ("fire", "ice")]
    assert json.loads(classified.stdout) == {"predictions": predictions}
    assert json.loads(evaluated.stdout) == QUALITY
    assert "patch clip score" in run("evaluate", photo, photo, "fire", "--server", target).stdout


def test_evaluate_works_here_and_repeats(photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(picture("green"))
    first, again = (run("evaluate", photo, other, "fire", "--seed", 3, "--json") for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout == again.stdout
    assert set(json.loads(first.stdout)) == set(QUALITY)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "PHOTO", "missing.png", "fire"], "missing.png"),
        (["evaluate", "PHOTO", "BROKEN", "fire"], "image"),
        (["evaluate", "PHOTO", "PHOTO", "a photo"], "same as the source text"),
        (["evaluate", "PHOTO", "PHOTO", "fire", "--encoder-set", "nobody"], "--encoder-set"),
        (["classify", "PHOTO", "fire", "", "--server", "TARGET"], "LABELS[1]"),
    ],
)
def test_bad_input_gives_one_clear_line(words: list[str], said: str, photo: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    places = {"PHOTO": photo, "BROKEN": tmp_path / "broken.png", "TARGET": target}
    outcome = run(*(places.get(word, word) for word in words))
    assert outcome.exit_code in (1, 2)
    assert said in outcome.stderr
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize("command", ["classify", "evaluate"])
def test_help_has_examples(command: str) -> None:
    assert f"clipstyler {command}" in run(command, "--help").stdout
