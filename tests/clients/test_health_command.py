"""`clipstyler health`: exit codes for probes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from clipstyler_cli.main import app
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from typer.testing import CliRunner, Result


def health(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["health", *arguments])


@pytest.fixture
def reporting() -> Iterator[tuple[str, HealthServicer]]:
    server, servicer = grpc.server(ThreadPoolExecutor(1)), HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(None)


def test_a_server_that_takes_work_is_healthy(reporting: tuple[str, HealthServicer]) -> None:
    target, servicer = reporting
    servicer.set("", HealthCheckResponse.SERVING)
    outcome = health("--server", target)
    assert (outcome.exit_code, outcome.output) == (0, "SERVING\n")


def test_a_server_that_takes_none_is_not(reporting: tuple[str, HealthServicer]) -> None:
    target, servicer = reporting
    servicer.set("", HealthCheckResponse.NOT_SERVING)
    outcome = health("--server", target)
    assert (outcome.exit_code, outcome.output) == (1, "NOT_SERVING\n")


def test_a_proxy_of_other_programs_is_not_asked(
    reporting: tuple[str, HealthServicer], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, servicer = reporting
    servicer.set("", HealthCheckResponse.SERVING)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert health("--server", target).output == "SERVING\n"


def test_the_service_that_is_asked_for_decides(reporting: tuple[str, HealthServicer]) -> None:
    target, servicer = reporting
    servicer.set("", HealthCheckResponse.SERVING)
    servicer.set("one", HealthCheckResponse.NOT_SERVING)
    assert health("--server", target, "--service", "one").exit_code == 1
    outcome = health("--server", target, "--service", "two")
    assert outcome.exit_code == 1
    assert "NOT_FOUND" in outcome.output


def test_a_server_that_does_not_answer_is_named() -> None:
    outcome = health("--server", "127.0.0.1:1", "--timeout", "2")
    assert outcome.exit_code == 1
    assert "127.0.0.1:1: UNAVAILABLE" in outcome.output


def test_files_that_cannot_be_read_are_named() -> None:
    outcome = health("--tls-ca", "no-such-file.pem")
    assert outcome.exit_code == 1
    assert "no-such-file.pem" in outcome.output
