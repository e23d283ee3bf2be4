"""Exports on a GPU: CUDA and TensorRT against PyTorch on the CPU, and tensors that stay on the GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.parity import check_parity
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
    assert check_parity(TorchEncoders(encoders), exported).holds


def test_half_precision_on_cuda_keeps_the_ranking(encoders: EncoderSet, tmp_path: Path) -> None:
    export(encoders, tmp_path / "half", half=True)
    assert check_parity(TorchEncoders(encoders), OnnxEncoders(tmp_path / "half", SessionOptions(("cuda", "cpu")))).holds


@needs_tensorrt
@pytest.mark.parametrize("half", [False, True])
def test_tensorrt_becomes_active_and_its_engine_is_used_again(
    encoders: EncoderSet, directory: Path, tmp_path: Path, half: bool
) -> None:
    options = SessionOptions(("tensorrt", "cuda", "cpu"), cache=tmp_path, half=half, batch=Span(1, 8, 16))
    first = OnnxEncoders(directory, options)
    assert first.backend == "onnx-tensorrt"
    assert first.precision == ("fp16" if half else "fp32")
    assert check_parity(TorchEncoders(encoders), first).holds
    engines = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")}
    assert engines
    assert check_parity(TorchEncoders(encoders), OnnxEncoders(directory, options)).holds
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.engine")} == engines
