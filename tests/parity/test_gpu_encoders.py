"""Exports on a GPU: CUDA and TensorRT against PyTorch on the CPU, and tensors that stay on the GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.onnx import probes
from clipstyler.encoders.onnx.binding import BoundEncoders
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.parity import demand_parity
from clipstyler.encoders.onnx.providers import SessionOptions, Span, tensorrt_version
from clipstyler.encoders.torch_encoders import TorchEncoders

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
needs_tensorrt = pytest.mark.skipif(tensorrt_version() == "none", reason="needs the extra tensorrt")


@pytest.fixture(scope="module")
def encoders() -> EncoderSet:
    return registry.load("pocket")


@pytest.fixture(scope="module")
def directory(encoders: EncoderSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exports") / "pocket"
    export(encoders, directory)
    return directory


def test_cuda_becomes_active_and_agrees_with_pytorch(encoders: EncoderSet, directory: Path) -> None:
    exported = OnnxEncoders(directory, SessionOptions(("cuda", "cpu")))
    assert exported.backend == "onnx-cuda"
    demand_parity(TorchEncoders(encoders), exported)


def test_half_precision_on_cuda_keeps_the_ranking(encoders: EncoderSet, tmp_path: Path) -> None:
    export(encoders, tmp_path / "half", half=True)
    demand_parity(TorchEncoders(encoders), OnnxEncoders(tmp_path / "half", SessionOptions(("cuda", "cpu"))))


def test_tensors_stay_on_the_gpu_and_wait_for_the_work_before_them(directory: Path) -> None:
    exported = OnnxEncoders(directory, SessionOptions(("cuda", "cpu")))
    bound, images = BoundEncoders(exported), probes.images(exported.image_size)
    expected = exported.encode_image(images)
    for _ in range(20):
        # Written on PyTorch's stream just before: read too early, they would be zeros.
        late = torch.zeros(images.shape, device="cuda")
        torch.cuda._sleep(20_000_000)
        late += torch.from_numpy(images).cuda()
        got = bound.encode_image(late)
        assert got.is_cuda
        torch.testing.assert_close(got.cpu(), torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


@needs_tensorrt
@pytest.mark.parametrize("half", [False, True])
def test_tensorrt_becomes_active_and_its_engine_is_used_again(
    encoders: EncoderSet, directory: Path, tmp_path: Path, half: bool
) -> None:
    options = SessionOptions(("tensorrt", "cuda", "cpu"), cache=tmp_path, half=half, batch=Span(1, 8, 16))
    first = OnnxEncoders(directory, options)
    assert first.backend == "onnx-tensorrt"
    assert first.precision == ("fp16" if half else "fp32")
    demand_parity(TorchEncoders(encoders), first)
    engines = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")}
    assert engines
    demand_parity(TorchEncoders(encoders), OnnxEncoders(directory, options))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")} == engines
