"""The recipes in `docs/other-languages.md`, as they are written; those whose tool is missing are skipped."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conformance.photos import photo_named

PAGE = Path(__file__).parents[2] / "docs" / "other-languages.md"
RECIPES = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TOOLS = ("grpcurl", "buf", "ghz", "curl")
# What the output must contain.
SHOWN = {"grpcurl": '"state"', "buf": "clipstyler.v1.EncoderService/EncodeText", "ghz": "[OK]", "curl": ""}
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def tool_of(recipe: str) -> str:
    return next(tool for tool in TOOLS if re.search(rf"\b{tool} ", recipe))


def played(recipe: str, url: str, target: str, folder: Path) -> str:
    """Run a recipe in a folder, and return what it prints."""
    script = recipe.replace("http://127.0.0.1:8080", url).replace("127.0.0.1:50051", target)
    command = ["bash", "-euo", "pipefail", "-c", script]
    environment = os.environ | {"PATH": PATH}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("recipe", RECIPES, ids=tool_of)
def test_a_recipe_works_as_written(recipe, url, target, tmp_path):
    tool = tool_of(recipe)
    if shutil.which(tool, path=PATH) is None:
        pytest.skip(f"{tool} is not installed")
    (tmp_path / "photo.jpg").write_bytes(photo_named("small"))
    shown = played(recipe, url, target, tmp_path)
    assert SHOWN[tool] in shown
    if "result.png" in recipe:
        assert Image.open(io.BytesIO((tmp_path / "result.png").read_bytes())).size == (96, 64)
    elif tool == "curl":
        assert '"serverInfo"' in shown


def test_a_stylization_with_curl_reads_a_result_that_comes_in_chunks(url, target, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo_named("small"))
    (recipe,) = (recipe for recipe in RECIPES if "result.png" in recipe)
    played(recipe.replace('"fire"', '"side=1200 x"'), url, target, tmp_path)
    assert '"chunk"' in (tmp_path / "events.jsonl").read_text()
    with Image.open(tmp_path / "result.png") as result:
        result.load()
        assert result.size == (1200, 1200)


def test_every_tool_has_a_recipe():
    assert set(map(tool_of, RECIPES)) == set(TOOLS)
