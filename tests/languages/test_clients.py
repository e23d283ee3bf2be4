"""Each client of another language passes its own tests and the conformance cases."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.browser.executable import chromium
from tests.conformance.running import NAMES
from tests.conformance.running import run as run_cases
from tests.conformance.serve import serving
from tests.contract.toolchains import run
from tests.languages.builds import JAVA, go, java_classpath, node
from tests.languages.web_cases import NOT_IN_BROWSERS, WEB_CASES

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
# The web entry point runs where `fetch` does: in Chromium (tests/browser), and in Node.js where there is no Chromium.
CASES = {"node": NAMES, "go": NAMES, "java": NAMES} | ({} if chromium() else {"web": WEB_CASES})


@pytest.fixture(scope="module")
def results(control: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict[str, dict]]]:
    """Return a function that plays the cases in a language, once; the next language is built meanwhile."""
    with ThreadPoolExecutor(1) as builder:
        runners = {name: builder.submit(RUNNERS[name], tmp_path_factory.mktemp(name)) for name in CASES}

        @functools.cache
        def play(language: str) -> dict[str, dict]:
            return run_cases(runners[language].result(), control, CASES[language])

        yield play


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


def test_cases_that_are_left_out_exist() -> None:
    assert set(NAMES) > set(NOT_IN_BROWSERS)
