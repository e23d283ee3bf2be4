"""Exported encoders: the same numbers as PyTorch, clear words for broken files, providers chosen loudly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler.config import ConfigError
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError
from clipstyler.encoders.onnx import manifest as manifests
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.manifest import BrokenExportError
from clipstyler.encoders.onnx.parity import TorchPath, check_parity
from clipstyler.encoders.onnx.providers import Batches, ProviderError, SessionOptions, provider_options
from tests.tiny_encoders import tiny_encoders

CPU = SessionOptions(("cpu",))


@pytest.fixture(scope="module", params=["pocket", "open_clip"])
def encoders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EncoderSet:
    if request.param == "pocket":
        return registry.load("pocket")
    return registry.load(str(write_encoders(tmp_path_factory.mktemp("source") / "tiny", TINY_CLIP)))


@pytest.fixture(scope="module")
def directory(encoders: EncoderSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export")
    export(encoders, directory)
    return directory


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A small export of its own, to be damaged."""
    export(registry.load("pocket"), tmp_path)
    return tmp_path


@pytest.mark.parametrize("half", [False, True])
def test_an_export_agrees_with_pytorch(encoders: EncoderSet, tmp_path: Path, half: bool) -> None:
    """Cosines of 0.99999 in single and 0.999 in half precision, and texts in the same order on every image."""
    written = export(encoders, tmp_path, half=half)
    exported = OnnxEncoders(tmp_path, CPU)
    parity = check_parity(TorchPath(encoders), exported, written.image_size, written.precision)
    assert parity.holds, parity.in_words()
    assert exported.backend == "onnx-cpu"
    assert exported.manifest.precision == ("fp16" if half else "fp32")


def test_the_gate_shuts_on_other_weights(encoders: EncoderSet, directory: Path) -> None:
    class Other(OnnxEncoders):
        def encode_image(self, views: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            return super().encode_image(views) + 0.3 * np.arange(len(views))[:, None]

    exported = Other(directory, CPU)
    parity = check_parity(TorchPath(encoders), exported, exported.manifest.image_size, "fp32")
    assert not parity.holds
    assert "image: cosine 0." in parity.in_words()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_gives_what_its_parts_give(encoders: EncoderSet, directory: Path, batch: int) -> None:
    """Results do not depend on the batch's composition: 1e-4 of embeddings of norm about 10, cosine 1 - 1e-6."""
    exported = OnnxEncoders(directory, CPU)
    side = exported.manifest.image_size
    views = np.random.default_rng(0).random((batch, 3, side, side), np.float32)
    together, apart = exported.encode_image(views), np.concatenate([exported.encode_image(v[None]) for v in views])
    np.testing.assert_allclose(together, apart, atol=1e-4 * max(1.0, float(np.abs(apart).max())))
    sentences = ["fire", "a sketch with black pencil", "", "mosaic tiles of old Rome", "x"][:batch]
    together, apart = exported.encode_text(sentences), np.concatenate([exported.encode_text([s]) for s in sentences])
    np.testing.assert_allclose(together, apart, atol=1e-4 * max(1.0, float(np.abs(apart).max())))
    assert together.shape == (batch, exported.manifest.embedding_dim)


def test_content_features_take_images_of_any_size(encoders: EncoderSet, directory: Path) -> None:
    exported, reference = OnnxEncoders(directory, CPU), TorchPath(encoders)
    images = np.random.default_rng(1).random((1, 3, 72, 120), np.float32)
    for got, expected in zip(exported.features(images), reference.features(images), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-4)


def test_the_manifest_says_what_was_exported_and_how_it_is_fed(encoders: EncoderSet, directory: Path) -> None:
    written = manifests.read(directory)
    assert written.models == {model.name: model.digest for model in encoders.models}
    assert written.opset == 18
    assert onnx.load(directory / "image.onnx").opset_import[0].version == 18
    assert "antialiased" in written.preprocessing
    assert written.graphs["image"].inputs == {"views": ["batch", 3, written.image_size, written.image_size]}
    assert written.versions.keys() == {"clipstyler", "torch", "onnx"}
    assert len(written.digest) == 64


def test_running_an_export_of_pocket_needs_no_pytorch(broken: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from clipstyler.encoders.onnx.encoders import OnnxEncoders;"
        "from clipstyler.encoders.onnx.providers import SessionOptions;"
        f"OnnxEncoders(Path({str(broken)!r}), SessionOptions(('cpu',))).encode_text(['fire']);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_changed_file_is_refused_by_its_digest(broken: Path) -> None:
    data = bytearray((broken / "text.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (broken / "text.onnx").write_bytes(data)
    with pytest.raises(BrokenExportError, match=r"text\.onnx has the digest \w{64}, the manifest says \w{64}"):
        OnnxEncoders(broken, CPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"opset": 12}, "opset 12, 18 or newer"),
        ({"format": 99}, "format 99"),
        ({"tokenizer": "other:1"}, "tokenizer 'other:1' is unknown"),
        ({"graphs": 3}, "no manifest"),
        ({"surprise": 1}, "no manifest"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(broken: Path, change: dict[str, object], words: str) -> None:
    path = broken / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BrokenExportError, match=words):
        OnnxEncoders(broken, CPU)


def test_missing_files_are_named(tmp_path: Path, broken: Path) -> None:
    with pytest.raises(BrokenExportError, match=r"manifest\.json is missing"):
        OnnxEncoders(tmp_path / "nowhere", CPU)
    (broken / "image.onnx").unlink()
    with pytest.raises(BrokenExportError, match=r"image\.onnx is missing"):
        OnnxEncoders(broken, CPU)


def test_what_has_no_graphs_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailableError, match="no graphs"):
        export(tiny_encoders(), tmp_path)


@pytest.mark.parametrize("opset", [17, 99])
def test_an_opset_out_of_range_is_refused(tmp_path: Path, opset: int) -> None:
    with pytest.raises(ConfigError, match="opset"):
        export(registry.load("pocket"), tmp_path, opset=opset)


def test_a_provider_that_is_required_and_missing_is_an_error_that_says_why(broken: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ProviderError, match=r"cuda: this onnxruntime .* was built without it"):
        OnnxEncoders(broken, SessionOptions(("cuda", "cpu"), required=True))
    assert OnnxEncoders(broken, SessionOptions(("tensorrt", "cuda", "cpu"))).provider == "cpu"


@pytest.mark.parametrize("providers", [("gpu",), (), ("cpu", "cpu")])
def test_providers_are_checked(providers: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="providers"):
        SessionOptions(providers)


def test_tensorrt_gets_profiles_and_caches_of_its_own_for_every_graph_and_gpu(tmp_path: Path) -> None:
    options = SessionOptions(("tensorrt",), cache=tmp_path, half=True, batches=Batches(1, 8, 64), device=1)
    inputs: dict[str, list[int | str]] = {"views": ["batch", 3, 224, 224]}
    chosen = provider_options("tensorrt", options, "a" * 64, inputs, "NVIDIA H200")
    assert chosen["trt_profile_min_shapes"] == "views:1x3x224x224"
    assert chosen["trt_profile_opt_shapes"] == "views:8x3x224x224"
    assert chosen["trt_profile_max_shapes"] == "views:64x3x224x224"
    assert chosen["trt_fp16_enable"] is True
    assert chosen["device_id"] == 1
    assert chosen["trt_engine_cache_enable"] is True
    assert chosen["trt_timing_cache_path"] == chosen["trt_engine_cache_path"]
    others = [
        provider_options("tensorrt", options, "b" * 64, inputs, "NVIDIA H200"),
        provider_options("tensorrt", options, "a" * 64, inputs, "another GPU"),
    ]
    assert len({chosen["trt_engine_cache_path"], *(other["trt_engine_cache_path"] for other in others)}) == 3
    assert "trt_engine_cache_path" not in provider_options(
        "tensorrt", SessionOptions(("tensorrt",)), "a" * 64, {"images": ["batch", 3, "height", "width"]}
    )


def test_cuda_computes_in_full_single_precision() -> None:
    assert provider_options("cuda", SessionOptions(("cuda",), device=2), "a" * 64, {})["use_tf32"] == 0
