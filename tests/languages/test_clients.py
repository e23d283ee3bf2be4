"""Each client of another language passes its own tests and the conformance cases."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.running import NAMES
from tests.conformance.running import run as run_cases
from tests.conformance.serve import serving
from tests.contract.toolchains import run
from tests.languages.builds import JAVA, go, java_classpath, node

# On first use packages are downloaded, and Go compiles grpc.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def control() -> Iterator[str]:
    with serving() as address:
        yield address


def node_runner(_folder: Path) -> list[str]:
    return compiled("grpc.js")


def web_runner(_folder: Path) -> list[str]:
    return compiled("web.js")


def compiled(name: str) -> list[str]:
    run("npx", "tsc", cwd=node())
    return ["node", str(node() / "build" / "test" / "conformance" / name)]


def go_runner(folder: Path) -> list[str]:
    run("go", "build", "-o", folder / "conformance", "./internal/conformance", cwd=go())
    return [str(folder / "conformance")]


def java_runner(_folder: Path) -> list[str]:
    # The machine code of short programs is not worth optimizing.
    return [
        "java",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        java_classpath(),
        "dev.clipstyler.client.conformance.Main",
    ]


RUNNERS: dict[str, Callable[[Path], list[str]]] = {
    "node": node_runner,
    "web": web_runner,
    "go": go_runner,
    "java": java_runner,
}
# What the web entry point adds to the client for Node.js: another transport, through the gateway. Nothing is uploaded
# in browsers, which cannot stream requests.
WEB = ("one-shot", "chunks", "large-photo-inline", "job", "invalid-fields", "queue-full", "leave", "deadline")
WEB += ("killed", "reset-watch")
CASES = {"node": NAMES, "web": WEB, "go": NAMES, "java": NAMES}


@pytest.fixture(scope="module")
def results(control: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, dict]]:
    """Return a function that plays the cases in a language, once."""

    @functools.cache
    def play(language: str) -> dict[str, dict]:
        return run_cases(RUNNERS[language](tmp_path_factory.mktemp(language)), control, CASES[language])

    return play


@pytest.mark.parametrize(("language", "name"), [(language, name) for language in CASES for name in CASES[language]])
def test_the_client_conforms(language: str, name: str, results: Callable[[str], dict[str, dict]]) -> None:
    line = results(language)[name]
    assert line["ok"], line["detail"]


def test_the_tests_of_the_node_client_pass() -> None:
    run("npm", "test", cwd=node())


def test_the_tests_of_the_go_client_pass() -> None:
    assert run("gofmt", "-l", ".", cwd=go()) == ""
    run("go", "vet", "./...", cwd=go())
    run("go", "test", "./...", cwd=go())


def test_the_tests_of_the_java_client_pass() -> None:
    java_classpath()
    run("mvn", "-B", "-q", "surefire:test", cwd=JAVA)
