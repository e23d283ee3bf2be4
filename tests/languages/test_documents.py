"""The clients' READMEs and docs/clients.md do what they say, in a fresh folder with the toolchain of the language."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from clipstyler.config import DEFAULT_PRESET, PRESETS
from tests.clients.scripted_server import picture
from tests.clients.server_process import Server, module_server
from tests.contract.toolchains import ROOT, java_folder, require, run
from tests.languages.builds import JAVA, JAVA_BUILD, java_classpath
from tests.languages.snippets import RUN, addressed, blocks

pytestmark = pytest.mark.timeout(600)

# The file that a README tells to write, by the language of its code; Java has a test of its own.
READMES = {"js": ("node", "stylize.mjs"), "go": ("go", "main.go")}
# What a checkout does not have.
BUILT = ("node_modules", "dist", "build", "*.tgz")
PAGE = ROOT / "docs" / "clients.md"
STYLES = ROOT / "docs" / "styles.md"
STYLIZE, JOB, STYLE, ERRORS = range(4)
PNG = b"\x89PNG"
STEPS = PRESETS[DEFAULT_PRESET].steps


server = module_server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "photo.jpg").write_bytes(picture("gray", (96, 64), "JPEG"))
    return fresh


@pytest.mark.parametrize("language", READMES)
def test_the_readme_of_a_client_works_as_written(language: str, folder: Path, server: Server) -> None:
    """In a fresh folder beside a fresh checkout, by nothing but what the README says."""
    name, file = READMES[language]
    require(name, *{"node": ("node", "npm"), "go": ("go",)}[name])
    page = ROOT / "client" / name / "README.md"
    shutil.copytree(page.parent, folder.parent / "clipstyler" / "client" / name, ignore=shutil.ignore_patterns(*BUILT))
    (code, _), (commands,) = blocks(page, language), blocks(page, "sh")
    assert f"`{file}` beside a `photo.jpg`" in page.read_text()
    (folder / file).write_text(addressed(code, server.target))
    assert f"step {STEPS}" in run("bash", "-euc", commands, cwd=folder)
    assert (folder / "glass.png").read_bytes().startswith(PNG)


def test_the_commands_of_the_java_readme_work_as_written(folder: Path, server: Server) -> None:
    page = ROOT / "client" / "java" / "README.md"
    java_classpath()  # what the second line does
    checkout, build, command = blocks(page, "sh")[0].splitlines()
    assert build == f"(cd $CLIENT && {' '.join(JAVA_BUILD)})"
    (folder / "Stylize.java").write_text(addressed(blocks(page, "java")[0], server.target))
    script = f"{checkout.partition('=')[0]}={JAVA}\n{command}"
    assert f"step {STEPS}" in run("bash", "-euc", script, cwd=folder)
    assert (folder / "glass.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(("language", "name"), {"js": "node", "go": "go", "java": "java"}.items())
def test_the_readme_of_a_client_fits_and_applies_a_style(
    language: str, name: str, folder: Path, server: Server
) -> None:
    code = blocks(ROOT / "client" / name / "README.md", language)[1]
    RUN[language](addressed(code, server.target), folder)
    assert (folder / "styled-0.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("language", RUN)
def test_the_page_stylizes_in_every_language(language: str, folder: Path, server: Server) -> None:
    output = RUN[language](addressed(blocks(PAGE, language)[STYLIZE], server.target), folder)
    assert f"step {STEPS} of {STEPS}" in output
    assert (folder / "glass.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("language", RUN)
def test_the_page_resumes_in_every_language(language: str, folder: Path, server: Server) -> None:
    output = RUN[language](addressed(blocks(PAGE, language)[JOB], server.target), folder).lower()
    assert "result" in output.splitlines()[-1]
    assert "queued" not in output  # which the first watcher has seen
    assert (folder / "glass.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("language", RUN)
def test_the_page_about_styles_fits_and_applies_one_in_every_language(
    language: str, folder: Path, server: Server
) -> None:
    RUN[language](addressed(blocks(STYLES, language)[0], server.target), folder)
    assert (folder / "styled-0.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("language", RUN)
def test_the_page_fits_and_applies_a_style_in_every_language(language: str, folder: Path, server: Server) -> None:
    (folder / "other.jpg").write_bytes(b"no photo")
    output = RUN[language](addressed(blocks(PAGE, language)[STYLE], server.target), folder)
    assert "photo 1: INVALID_FIELD" in output
    assert (folder / "styled-0.png").read_bytes().startswith(PNG)
    assert not (folder / "styled-1.png").exists()


@pytest.mark.parametrize("language", RUN)
def test_the_page_decodes_errors_in_every_language(language: str, folder: Path, server: Server) -> None:
    output = RUN[language](addressed(blocks(PAGE, language)[ERRORS], server.target), folder)
    assert "INVALID_FIELD" in output
    assert "spec.options.steps must be at least 1" in output
    assert "spec.style_text is empty" in output


def test_the_page_has_the_same_tasks_in_every_language() -> None:
    assert {language: len(blocks(PAGE, language)) for language in RUN} == dict.fromkeys(RUN, 4)


def test_the_command_for_other_languages_generates(tmp_path: Path) -> None:
    (line,) = blocks(PAGE, "sh")
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    program, *arguments = shlex.split(line)
    run(Path(sys.executable).with_name(program), *arguments, cwd=tmp_path, path=java_folder() / "bin")
    assert len(list((tmp_path / "gen" / "csharp").glob("*.cs"))) == len(list((ROOT / "proto").rglob("*.proto")))


def test_versions_are_the_same_everywhere() -> None:
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert json.loads((ROOT / "client" / "node" / "package.json").read_text())["version"] == version
    assert (
        f"<artifactId>clipstyler-client</artifactId>\n  <version>{version}</version>"
        in (ROOT / "client" / "java" / "pom.xml").read_text()
    )
    assert f"dev.clipstyler:clipstyler-client:{version}" in (ROOT / "client" / "java" / "README.md").read_text()
    assert f"client/go/v{version}" in (ROOT / "client" / "go" / "README.md").read_text()
