"""The Python client plays the conformance cases, directly and through the gateway."""

from __future__ import annotations

import sys

import pytest

from tests.conformance.running import NAMES, run


def runner(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"tests.conformance.{module}")


@pytest.fixture(scope="module")
def direct(control: str) -> dict[str, dict]:
    return run(runner("python_runner"), control)


@pytest.fixture(scope="module")
def through_the_gateway(control: str) -> dict[str, dict]:
    return run(runner("gateway_runner"), control)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_the_python_client_conforms(direct, name):
    assert direct[name]["ok"], direct[name]["detail"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_the_python_client_conforms_through_the_gateway(through_the_gateway, name):
    assert through_the_gateway[name]["ok"], through_the_gateway[name]["detail"]
