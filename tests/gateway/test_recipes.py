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


@pytest.mark.parametrize("recipe", RECIPES, ids=tool_of)
def test_a_recipe_works_as_written(recipe, url, target, tmp_path):
    tool = tool_of(recipe)
    if shutil.which(tool, path=PATH) is None:
        pytest.skip(f"{tool} is not installed")
    (tmp_path / "photo.jpg").write_bytes(photo_named("small"))
    script = recipe.replace("http://127.0.0.1:8080", url).replace("127.0.0.1:50051", target)
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PATH": PATH}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert SHOWN[tool] in done.stdout
    if "result.png" in recipe:
        assert Image.open(io.BytesIO((tmp_path / "result.png").read_bytes())).size == (96, 64)
    elif tool == "curl":
        assert '"serverInfo"' in done.stdout


def test_every_tool_has_a_recipe():
    assert set(map(tool_of, RECIPES)) == set(TOOLS)
