"""A style as an ONNX file: the same pictures as PyTorch's, at any size, and nothing else in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from clipstyler_cli.main import app
from typer.testing import CliRunner

from clipstyler import style_export
from clipstyler.imaging import Picture
from clipstyler.pixels import padded
from clipstyler.style import Style, dump_style, load_style
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_export import TOLERANCE, drawn, export_style, largest_difference
from tests.service.styles import style_file

DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def style() -> Style:
    """A style whose weights are random, so that every part of the network shows."""
    plain = load_style(style_file("a look", contrast=1.3))
    rng = np.random.default_rng(5)
    weights = {
        name: (rng.standard_normal(array.shape) / np.sqrt(max(1, array[0].size))).astype(np.float16)
        for name, array in plain.weights.items()
    }
    return Style(plain.description, weights)


@pytest.fixture(scope="module")
def model(style: Style) -> bytes:
    return export_style(style, DIGEST)


def run(model: bytes, photo: np.ndarray, thumbnail: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"photo": photo, "thumbnail": thumbnail})[0]


def ended(events):
    try:
        while True:
            next(events)
    except StopIteration as end:
        return end.value


def image(height: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, height, width), np.float32)


@pytest.mark.parametrize("border", ["mirror", "zero"])
def test_an_export_agrees_with_pytorch_at_any_size(style: Style, border: str) -> None:
    other = Style(replace(style.description, border=border), style.weights)
    exported = export_style(other, DIGEST)
    assert largest_difference(other, exported) <= TOLERANCE / 10
    photo, thumbnail = image(304, 40), image(64, 16)
    expected = drawn(LoadedStyle.of(other), photo, thumbnail)
    assert expected.std() > 0.01
    assert np.abs(run(exported, photo, thumbnail) - expected).max() <= TOLERANCE


def test_the_thumbnail_decides_the_statistics(model: bytes) -> None:
    photo, thumbnail = image(64, 64), image(64, 64, 2)
    assert np.abs(run(model, photo, photo) - run(model, photo, thumbnail * 0.3)).max() > 0.01


def test_an_export_draws_what_applying_the_style_draws(style: Style, model: bytes) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    applied = ended(apply_style(LoadedStyle.of(style), Picture(pixels), StyleControls()))
    tensor = padded(Picture(pixels), (48, 64)).numpy()
    found = run(model, tensor, tensor)[0].transpose(1, 2, 0) * 255
    assert np.abs(found - applied.rgb).max() <= 0.5 + 255 * TOLERANCE


def test_a_file_names_its_style_and_needs_nothing_of_this_program(style: Style, model: bytes) -> None:
    read = onnx.load_from_string(model)
    metadata = {entry.key: entry.value for entry in read.metadata_props}
    assert metadata["clipstyler.style"] == f"styles/{DIGEST}"
    assert metadata["clipstyler.style_text"] == style.description.style_text
    assert float(metadata["clipstyler.input_noise"]) == style.description.input_noise
    assert "thumbnail" in read.doc_string
    assert [entry.domain for entry in read.opset_import] == [""]
    assert not read.functions


def test_the_same_style_gives_the_same_file(style: Style, model: bytes) -> None:
    torch.manual_seed(99)
    assert export_style(style, DIGEST) == model


@pytest.fixture
def file(style: Style, tmp_path: Path) -> Path:
    path = tmp_path / "look.style"
    path.write_bytes(dump_style(style))
    return path


def export(*words: object):
    return CliRunner().invoke(app, ["styles", "export", *map(str, words)])


def test_the_command_exports_a_style(file: Path) -> None:
    out = file.with_suffix(".onnx")
    outcome = export(file, "-o", out, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["difference"] <= found["tolerance"] == TOLERANCE
    metadata = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert metadata["clipstyler.style"] == found["style"]


@pytest.mark.parametrize(
    ("style_name", "out", "message"),
    [
        ("nowhere", "x.onnx", "neither a file nor a bundled style"),
        ("look.style", "x.png", "must end in one of .onnx"),
        ("text.txt", "x.onnx", "STYLE: text.txt: the file is no style"),
    ],
)
def test_what_cannot_be_exported_is_said_before_any_work(
    file: Path, style_name: str, out: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    Path("text.txt").write_text("no style")
    monkeypatch.setattr(style_export, "export_style", lambda *_: pytest.fail("work was done"))
    outcome = export(style_name, "-o", out)
    assert (outcome.exit_code, message in outcome.stderr) == (2, True), outcome.stderr


def test_an_export_that_disagrees_is_not_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_export, "largest_difference", lambda *_: float("nan"))
    out = file.with_suffix(".onnx")
    outcome = export(file, "-o", out)
    assert (outcome.exit_code, "differs from PyTorch" in outcome.stderr, out.exists()) == (1, True, False)
