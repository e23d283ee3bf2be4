"""Every script in `examples/` runs: one in this process, those that need a server against a real one."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from tests.clients.server_process import Server, module_server

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTO = str(EXAMPLES / "cat.jpg")
QUICK = {"size": 64, "steps": 3}
RUN_BELOW = {"stylize_here", "stylize_remote", "durable_job"}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


server = module_server


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == RUN_BELOW


@pytest.mark.parametrize("name", sorted(RUN_BELOW))
def test_each_begins_with_its_usage(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()
    assert f"Usage: python examples/{name}.py" in text


def test_stylize_here(tmp_path, capsys) -> None:
    load("stylize_here").main(PHOTO, "fire", str(tmp_path / "fire.png"), patches=4, seed=5, **QUICK)
    printed = capsys.readouterr().out
    assert "step 3/3" in printed
    assert "seed 5" in printed
    assert Image.open(tmp_path / "fire.png").size == Image.open(PHOTO).size


def test_stylize_remote(server: Server, tmp_path, capsys) -> None:
    load("stylize_remote").main(server.target, PHOTO, "fire", str(tmp_path / "fire.png"), **QUICK)
    printed = capsys.readouterr().out
    assert "step 3/3" in printed
    assert "a preview of" in printed
    assert Image.open(tmp_path / "fire.png").format == "PNG"


def test_durable_job(server: Server, tmp_path, capsys) -> None:
    asyncio.run(load("durable_job").main(server.target, PHOTO, "fire", str(tmp_path / "fire.png"), **QUICK))
    assert "created stylizations/" in capsys.readouterr().out
    assert Image.open(tmp_path / "fire.png").format == "PNG"
