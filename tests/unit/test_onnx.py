"""Exported encoders: the same numbers as PyTorch, clear errors for broken files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import open_clip
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler import patches
from clipstyler.config import ConfigError
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError
from clipstyler.encoders.onnx import export as exporting
from clipstyler.encoders.onnx import manifest as manifests
from clipstyler.encoders.onnx import preprocess, tokenizers
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.manifest import BrokenExportError, Tokenizer
from clipstyler.encoders.onnx.parity import check_parity
from clipstyler.encoders.onnx.prepare import Preparation, _prepare
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.torch_encoders import TorchEncoders
from tests.tiny_encoders import tiny_encoders

CPU = SessionOptions(("cpu",))


@pytest.fixture(scope="module", params=["pocket", "open_clip"])
def encoders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EncoderSet:
    if request.param == "pocket":
        return registry.load("pocket")
    return registry.load(str(write_encoders(tmp_path_factory.mktemp("source") / "tiny", TINY_CLIP)))


@pytest.fixture(scope="module")
def directory(encoders: EncoderSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exports") / "one"
    export(encoders, directory)
    return directory


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A small export of its own, to be damaged."""
    export(registry.load("pocket"), tmp_path / "export")
    return tmp_path / "export"


@pytest.mark.parametrize("half", [False, True])
def test_an_export_agrees_with_pytorch(encoders: EncoderSet, tmp_path: Path, half: bool) -> None:
    """Cosines of 0.99999 in single and 0.999 in half precision, and texts in the same order on every image."""
    written = export(encoders, tmp_path, half=half)
    exported = OnnxEncoders(tmp_path, CPU)
    parity = check_parity(TorchEncoders(encoders), exported)
    assert parity.holds
    assert parity.smallest_cosine == (0.999 if half else 0.99999)
    assert exported.precision == written.precision == ("fp16" if half else "fp32")
    assert (exported.digest, exported.content_digest) == (encoders.clip.digest, encoders.content.digest)


def test_the_gate_shuts_on_other_weights(encoders: EncoderSet, directory: Path) -> None:
    class Other(OnnxEncoders):
        def encode_image(self, views: np.ndarray) -> np.ndarray:
            return super().encode_image(views) + 0.3 * np.arange(len(views))[:, None]

    exported = Other(directory, CPU)
    parity = check_parity(TorchEncoders(encoders), exported)
    assert not parity.holds
    assert re.search(r"image: cosine -?0\.", str(parity))


def test_the_gate_shuts_on_texts_that_change_places(encoders: EncoderSet) -> None:
    class Swapped(TorchEncoders):
        def encode_text(self, sentences: Sequence[str]) -> np.ndarray:
            return super().encode_text(sentences)[::-1]

    assert not check_parity(TorchEncoders(encoders), Swapped(encoders)).same_ranking


def test_the_exported_modules_stay_frozen_and_in_evaluation_mode(encoders: EncoderSet, directory: Path) -> None:
    for module in (encoders.clip, encoders.content):
        assert isinstance(module, nn.Module)
        assert not any(part.training for part in module.modules())
        assert not any(parameter.requires_grad for parameter in module.parameters())


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
    exported, reference = OnnxEncoders(directory, CPU), TorchEncoders(encoders)
    images = np.random.default_rng(1).random((1, 3, 72, 120), np.float32)
    for got, expected in zip(exported.features(images), reference.features(images), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-4)


def test_the_manifest_describes_what_was_exported_and_its_inputs(encoders: EncoderSet, directory: Path) -> None:
    written = manifests.read(directory)
    assert asdict(written.clip) == {"name": encoders.clip.name, "digest": encoders.clip.digest}
    assert asdict(written.content) == {"name": encoders.content.name, "digest": encoders.content.digest}
    assert written.opset == 18
    assert onnx.load(directory / "image.onnx").opset_import[0].version == 18
    assert "antialiased" in written.preprocessing
    assert written.graphs["image"].inputs == {"views": ["batch", 3, written.image_size, written.image_size]}
    assert written.versions.keys() == {"clipstyler", "torch", "onnx"}
    assert written.graphs["content"].inputs == {"images": ["batch", 3, "height", "width"]}
    assert written.tokenizer.kind in {"clip-bpe", "clipstyler-pocket-1"}


def test_running_an_export_needs_no_pytorch(directory: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from clipstyler.encoders.onnx.encoders import OnnxEncoders;"
        "from clipstyler.encoders.onnx.providers import SessionOptions;"
        f"o = OnnxEncoders(Path({str(directory)!r}), SessionOptions(('cpu',))); o.encode_text(['fire']);"
        "import numpy as np; o.encode_image(o.views(np.ones((1, 3, 90, 60), np.float32)));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_changed_file_is_refused_by_its_digest(broken: Path) -> None:
    data = bytearray((broken / "text.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (broken / "text.onnx").write_bytes(data)
    with pytest.raises(BrokenExportError, match=r"text\.onnx: digest mismatch: .* \w{64}, .* \w{64}"):
        OnnxEncoders(broken, CPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"opset": 12}, "opset 12, 18 or newer"),
        ({"format": 99}, "format 99"),
        ({"tokenizer": {"kind": "other"}}, "tokenizer 'other' is unknown"),
        ({"graphs": 3}, "no manifest"),
        ({"graphs": {}}, "no manifest"),
        ({"surprise": 1}, "no manifest"),
        ({"calibration": {"tau": 1}}, "no manifest.*tau"),
        ({"calibration": {"threshold": 7}}, "no manifest.*threshold"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(broken: Path, change: dict[str, object], words: str) -> None:
    path = broken / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BrokenExportError, match=words):
        OnnxEncoders(broken, CPU)


def test_a_cached_export_is_that_of_a_name_and_its_calibration(tmp_path: Path) -> None:
    """The weights stay, and so do their digests; both names are in use then."""
    directory = write_encoders(tmp_path / "tiny", TINY_CLIP)
    (tmp_path / "alias").symlink_to(directory)
    prepared = []
    for scale, name in [(100.0, "tiny"), (20.0, "tiny"), (20.0, "alias")]:
        (directory / "calibration.json").write_text(json.dumps({"logit_scale": scale}))
        task = Preparation(
            str(tmp_path / name), str(tmp_path / "exports"), threads=torch.get_num_threads(), offline=True
        )
        prepared.append(OnnxEncoders(Path(_prepare(task).directory), CPU))
    assert [encoders.calibration.logit_scale for encoders in prepared] == [100.0, 20.0, 20.0]
    assert [Path(encoders.name).name for encoders in prepared] == ["tiny", "tiny", "alias"]


def test_a_cached_export_is_that_of_a_configuration(tmp_path: Path) -> None:
    """The checkpoint and the name stay; an export of before does not agree with what is computed now."""
    directory = write_encoders(tmp_path / "tiny", TINY_CLIP)
    task = Preparation(str(directory), str(tmp_path / "exports"), threads=torch.get_num_threads(), offline=True)
    prepared = []
    for mean in (0.5, 0.1):
        model = {"model_cfg": TINY_CLIP, "preprocess_cfg": {"mean": [mean] * 3}}
        (directory / "open_clip_config.json").write_text(json.dumps(model))
        prepared.append(_prepare(task))
    assert [each.problem for each in prepared] == ["", ""]
    assert prepared[0].directory != prepared[1].directory


def test_a_cached_export_that_lost_its_manifest_is_made_anew(tmp_path: Path) -> None:
    task = Preparation("pocket", str(tmp_path / "exports"), threads=torch.get_num_threads(), offline=True)
    first = _prepare(task)
    (Path(first.directory) / "manifest.json").unlink()
    again = _prepare(task)
    assert (again.directory, again.problem) == (first.directory, "")
    assert "manifest.json is missing" in again.replaced


def test_what_an_export_left_that_was_killed_is_deleted_and_those_of_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "exports"
    task = Preparation("pocket", str(cache), threads=torch.get_num_threads(), offline=True)
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_write", lambda _encoders, _towers, scratch, *_: _killed_in(scratch))
        with pytest.raises(KeyboardInterrupt):
            _prepare(task)
    (left,) = cache.glob(".clipstyler-*")
    other = left.with_name(f".clipstyler-{'0' * 16}-abc")
    other.mkdir()
    _prepare(task)
    assert list(cache.glob(".clipstyler-*")) == [other]


def _killed_in(scratch: Path) -> None:
    """End as if by SIGKILL: what is here stays."""
    shutil.copytree(scratch.parent, scratch.parent.with_name(f"{scratch.parent.name}left"))
    raise KeyboardInterrupt


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


def test_a_file_that_onnx_runtime_cannot_read_is_named(broken: Path) -> None:
    (broken / "text.onnx").write_bytes(b"no graph")
    path = broken / "manifest.json"
    fields = json.loads(path.read_text())
    fields["graphs"]["text"]["sha256"] = hashlib.sha256(b"no graph").hexdigest()
    path.write_text(json.dumps(fields))
    with pytest.raises(BrokenExportError, match=r"text\.onnx cannot be read by ONNX Runtime"):
        OnnxEncoders(broken, CPU)


def test_an_older_export_is_replaced_and_nothing_else_is(broken: Path) -> None:
    (broken / "left-over").touch()
    export(registry.load("pocket"), broken, opset=19)
    assert sorted(path.name for path in broken.iterdir()) == [
        "content.onnx",
        "image.onnx",
        "manifest.json",
        "text.onnx",
    ]
    assert manifests.read(broken).opset == 19
    assert [path.name for path in broken.parent.iterdir()] == [broken.name]
    (broken / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="neither empty nor an export"):
        export(registry.load("pocket"), broken)


@pytest.mark.parametrize(("height", "width"), [(72, 72), (333, 500), (48, 20)])
def test_both_paths_squash_images_to_the_same_views(height: int, width: int) -> None:
    """Pillow's filter against PyTorch's, tolerance 1e-5."""
    images = np.random.default_rng(2).random((2, 3, height, width), np.float32)
    expected = patches.resize(torch.from_numpy(images), 72).numpy()
    np.testing.assert_allclose(preprocess.views(images, 72), expected, atol=1e-5)


@pytest.fixture(scope="module", params=[16, 77])
def both_tokenizers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tokenizers.Tokenize, open_clip.SimpleTokenizer]:
    file = tokenizers.write_clip_bpe(tmp_path_factory.mktemp("tokenizer"))
    ours = tokenizers.load(Tokenizer("clip-bpe", request.param, file.name), file.parent)
    return ours, open_clip.SimpleTokenizer(context_length=request.param)


@settings(deadline=None, max_examples=50)
@given(text=st.text())
@example(text="it's  3 o'clock &amp; <b>they'll</b> STAY <end_of_text>")
@example(text="ünïcödé ❤️ 日本語 русский ﬁre ①²")
@example(text=": \u0345 \U000323b0")
@example(text="word " * 100)
def test_texts_are_cut_as_open_clip_cuts_them(
    both_tokenizers: tuple[tokenizers.Tokenize, open_clip.SimpleTokenizer], text: str
) -> None:
    ours, theirs = both_tokenizers
    np.testing.assert_array_equal(ours([text])[0], theirs([text]).numpy())
