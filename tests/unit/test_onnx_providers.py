"""Execution providers: options as data, and sessions that report which provider became active, and why no other."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from clipstyler.config import ConfigError
from clipstyler.encoders import registry
from clipstyler.encoders.onnx import gpu, sessions
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.providers import (
    Machine,
    SessionOptions,
    Span,
    cuda_options,
    engine_folder,
    tensorrt_options,
)
from clipstyler.encoders.onnx.sessions import ProviderError

MACHINE = Machine("NVIDIA H200", "10.13", "1.31.1")
VIEWS: dict[str, list[int | str]] = {"views": ["batch", 3, 224, 224]}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exports") / "pocket"
    export(registry.load("pocket"), directory)
    return directory


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: int) -> str:
        raise gpu.NoGpuError("there is no NVIDIA driver here")

    monkeypatch.setattr(gpu, "name", missing)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_preference_the_first_active_provider_is_used_and_the_others_are_explained(directory: Path) -> None:
    encoders = OnnxEncoders(directory)
    assert encoders.providers == dict.fromkeys(("image", "text", "content"), ("cpu",))
    assert (encoders.provider, encoders.backend) == ("cpu", "onnx-cpu")
    assert [why.partition(":")[0] for why in encoders.skipped] == ["tensorrt", "cuda"]


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("asked", ["cuda", "tensorrt"])
def test_a_requested_provider_that_does_not_become_active_is_an_error_with_its_reason(
    directory: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: built_in)
    with pytest.raises(ProviderError, match=f"provider {asked}, cpu does not become active.*no NVIDIA driver"):
        OnnxEncoders(directory, SessionOptions((asked, "cpu")))
    monkeypatch.setattr(ort, "get_available_providers", lambda: built_in[2:])
    with pytest.raises(ProviderError, match=r"this build of ONNX Runtime .* does not have it"):
        OnnxEncoders(directory, SessionOptions((asked,)))


def test_the_session_counts_not_the_build(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver without the libraries: ONNX Runtime quietly takes the CPU."""
    monkeypatch.setattr(sessions, "_chain", lambda *_: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="cuda: ONNX Runtime took cpu instead"):
        OnnxEncoders(directory, SessionOptions(("cuda",)))


def test_threads_are_explicit(directory: Path) -> None:
    opened = sessions.open_session(
        directory, OnnxEncoders(directory).manifest.graphs["image"], SessionOptions(("cpu",), threads=2), "fp32"
    )
    options = opened.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


@pytest.mark.parametrize(
    ("field", "values"), [("providers", (("gpu",),)), ("providers", (("cpu", "cpu"),)), ("threads", ((), 0))]
)
def test_options_are_checked(field: str, values: tuple[object, ...]) -> None:
    with pytest.raises(ConfigError, match=field):
        SessionOptions(*values)


def test_tensorrt_gets_minimum_optimum_and_maximum_shapes() -> None:
    options = SessionOptions(half=True, batch=Span(1, 8, 64), device=1)
    chosen = tensorrt_options(options, "a" * 64, VIEWS, MACHINE)
    assert chosen == {
        "device_id": 1,
        "trt_fp16_enable": True,
        "trt_profile_min_shapes": "views:1x3x224x224",
        "trt_profile_opt_shapes": "views:8x3x224x224",
        "trt_profile_max_shapes": "views:64x3x224x224",
    }
    tokens: dict[str, list[int | str]] = {"tokens": ["batch", "length"], "words": ["batch", "length"]}
    chosen = tensorrt_options(SessionOptions(), "a" * 64, tokens, MACHINE)
    assert chosen["trt_profile_max_shapes"] == "tokens:128x192,words:128x192"
    assert chosen["trt_fp16_enable"] is False


def test_every_free_dimension_of_an_export_has_a_span(directory: Path) -> None:
    for graph in OnnxEncoders(directory).manifest.graphs.values():
        assert tensorrt_options(SessionOptions(), graph.sha256, graph.inputs, MACHINE)["trt_profile_opt_shapes"]


def test_engines_are_kept_apart_by_all_that_they_depend_on(tmp_path: Path) -> None:
    others = [
        (tmp_path, "b" * 64, MACHINE, False),
        (tmp_path, "a" * 64, Machine("NVIDIA A100", "10.13", "1.31.1"), False),
        (tmp_path, "a" * 64, Machine("NVIDIA H200", "10.14", "1.31.1"), False),
        (tmp_path, "a" * 64, Machine("NVIDIA H200", "10.13", "1.32.0"), False),
        (tmp_path, "a" * 64, MACHINE, True),
    ]
    folder = engine_folder(tmp_path, "a" * 64, MACHINE, half=False)
    assert len({folder, *(engine_folder(*other) for other in others)}) == 6
    chosen = tensorrt_options(SessionOptions(cache=tmp_path), "a" * 64, VIEWS, MACHINE)
    assert chosen["trt_engine_cache_enable"] is chosen["trt_timing_cache_enable"] is True
    assert chosen["trt_engine_cache_path"] == chosen["trt_timing_cache_path"] == str(folder)


def test_cuda_computes_in_full_single_precision() -> None:
    assert cuda_options(SessionOptions(device=2)) == {
        "device_id": 2,
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": 0,
    }


def test_onnx_runtime_writes_nothing_to_the_home_directory(tmp_path):
    model = tmp_path / "model.onnx"
    vector = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=[1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [vector("x")], [vector("y")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    program = (
        "import sys, clipstyler.encoders.onnx, onnxruntime;"
        "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program, str(model)], env=os.environ | home, check=True)

    assert list(tmp_path.rglob("*")) == [model]
