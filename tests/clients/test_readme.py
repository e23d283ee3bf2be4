"""The documents do what they say: README's code runs, every setting and metric is listed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from clipstyler_cli.main import app
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.settings import Settings
from typer.testing import CliRunner

from clipstyler.config import DEFAULT_PRESET, PRESETS
from tests.clients.scripted_server import picture
from tests.clients.server_process import Server, module_server
from tests.languages import snippets

ROOT = Path(__file__).parents[2]

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def beside_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.jpg").write_bytes(picture("gray", (96, 64), "JPEG"))
    monkeypatch.chdir(tmp_path)


STEPS = PRESETS[DEFAULT_PRESET].steps

server = module_server


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code: str, tmp_path: Path, server: Server) -> None:
    exec(compile(code.replace("127.0.0.1:50051", server.target), "README.md", "exec"), {})
    assert list(tmp_path.glob("*.png"))


@pytest.mark.timeout(600)  # on first use npm downloads packages
@pytest.mark.parametrize(("code", "file"), list(zip(blocks("js"), ("glass.png", "styled-0.png"), strict=True)))
def test_node_examples_run(code: str, file: str, tmp_path: Path, server: Server) -> None:
    output = snippets.run_node(snippets.addressed(code, server.target), tmp_path)
    assert (f"step {STEPS} of {STEPS}" in output) == ("console.log" in code)
    assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "line", [x for b in blocks("sh") for x in b.splitlines() if x.startswith("clipstyler stylize")]
)
def test_stylize_examples_run(line: str, tmp_path: Path) -> None:
    arguments = [*shlex.split(line)[1:], "--size", "64", "--steps", "2", "--patches", "2"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("line", [x for b in blocks("sh") for x in b.splitlines() if x.startswith("clipstyler apply")])
def test_apply_examples_run(line: str, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    assert outcome.exit_code == 0, outcome.output
    assert list((tmp_path / "styled").glob("*.png"))


def test_the_example_of_exported_encoders_runs() -> None:
    assert CliRunner().invoke(app, ["models", "export", "pocket", "--out", "pocket-onnx"]).exit_code == 0
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "encoders.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/encoders.md", "exec"), names)
    assert "images" in names
    assert "texts" in names


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", document.read_text(), re.MULTILINE):
            assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), (document, target)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_decision_is_in_the_index_with_its_status_and_date() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for page in sorted(folder.glob("0*.md")):
        title, status = re.match(r"# (.+)\n\n(Status: .+)\n", page.read_text()).groups()
        assert re.fullmatch(r"Status: (accepted|superseded by \[\d{4}\]\(.+\)) · \d{4}-\d\d-\d\d", status), page.name
        assert f"[{title}]({page.name})" in index, page.name


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for name, field in Settings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        assert f"| `CLIPSTYLER_{name.upper()}` | `{default}` | {field.description} |" in page


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for family in Metrics().registry.collect():
        assert family.name in page, family.name
