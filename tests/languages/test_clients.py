"""Each client of another language passes its own tests and the conformance cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance import running
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


RUNNERS: dict[str, Callable[[Path], list[str]]] = {"node": node_runner, "go": go_runner, "java": java_runner}
# What the web entry point adds to the client for Node.js: another transport, through the gateway. Nothing is uploaded
# in browsers, which cannot stream requests.
WEB_CASES = (
    "one-shot",
    "chunks",
    "large-photo-inline",
    "job",
    "invalid-fields",
    "queue-full",
    "leave",
    "deadline",
    "killed",
)


@pytest.mark.parametrize("language", RUNNERS)
def test_the_client_conforms(language: str, control: str, tmp_path: Path) -> None:
    assert running.failures(running.run(RUNNERS[language](tmp_path), control)) == {}


def test_the_client_conforms_by_grpc_web(control: str, tmp_path: Path) -> None:
    assert running.failures(running.run(web_runner(tmp_path), control, WEB_CASES)) == {}


def test_the_tests_of_the_node_client_pass() -> None:
    run("npm", "test", cwd=node())


def test_the_tests_of_the_go_client_pass() -> None:
    assert run("gofmt", "-l", ".", cwd=go()) == ""
    run("go", "vet", "./...", cwd=go())
    run("go", "test", "./...", cwd=go())


def test_the_tests_of_the_java_client_pass() -> None:
    java_classpath()
    run("mvn", "-B", "-q", "surefire:test", cwd=JAVA)
