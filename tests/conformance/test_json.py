"""Plain JSON through the gateway plays the conformance cases that need no client."""

from __future__ import annotations

import sys

import pytest

from tests.conformance.running import NAMES, run

RUNNER = (sys.executable, "-m", "tests.conformance.json_runner")
NEEDS_A_CLIENT = {
    "upload": "an upload streams to the server",
    "upload-large": "an upload streams to the server",
    "style-apply": "photos stream to the server",
    "style-apply-unknown": "photos stream to the server",
    "restart": "a client resumes",
    "killed": "a client resumes",
    "reset-watch": "a client resumes",
    "reset-one-shot": "a response that is cut has no error",
    "broken-result": "a client checks the digest",
    "unknown-fields": "the gateway translates only details that it knows",
    "data-loss": "the gateway translates only details that it knows",
}
CASES = tuple(name for name in NAMES if name not in NEEDS_A_CLIENT)


@pytest.fixture(scope="module")
def results(control: str) -> dict[str, dict]:
    return run(RUNNER, control, CASES)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_json_through_the_gateway_conforms(results, name):
    assert results[name]["ok"], results[name]["detail"]


def test_cases_that_are_left_out_exist():
    assert set(NAMES) > set(NEEDS_A_CLIENT)
