"""Tests of the light install; run by `make test-light`, in an environment without the heavy extras."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.scripted_server import picture, serving


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "clipstyler_cli.entry", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(picture())
    return path


def test_this_is_the_oldest_supported_set() -> None:
    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("numpy") is None
    assert (version("grpcio"), version("protobuf")) == ("1.75.1", "6.33.5")


def test_the_command_works_through_a_server(photo: Path, tmp_path: Path) -> None:
    with serving() as server:
        ran = command("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out.png").read_bytes() == picture()


@pytest.mark.parametrize(
    ("words", "extra"), [(["stylize", "PHOTO", "fire", "-o", "OUT"], "local"), (["serve"], "server")]
)
def test_what_is_missing_is_named_with_its_extra(words: list[str], extra: str, photo: Path, tmp_path: Path) -> None:
    paths = {"PHOTO": photo, "OUT": tmp_path / "out.png"}
    ran = command(*(paths.get(word, word) for word in words))
    assert ran.returncode == 1
    assert f'pip install "clipstyler[{extra}]"' in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_contact_sheet_shows_a_16_bit_photo(photo: Path, tmp_path: Path) -> None:
    Image.new("I;16", (256, 256), 257 * 100).save(photo)
    sheet = tmp_path / "sheet.png"
    with serving() as server:
        outputs = ["-o", tmp_path / "out.png", "--contact-sheet", sheet, "--animation", tmp_path / "run.gif"]
        ran = command("stylize", photo, "fire", *outputs, "--server", server.target)
    assert ran.returncode == 0, ran.stderr
    assert Image.open(sheet).getpixel((144, 180)) == (100, 100, 100)
