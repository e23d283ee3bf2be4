"""The Python client plays the conformance cases."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.conformance.running import NAMES, run
from tests.conformance.serve import serving

RUNNER = (sys.executable, "-m", "tests.conformance.python_runner")


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, dict]]:
    with serving() as control:
        yield run(RUNNER, control)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_the_python_client_conforms(results, name):
    assert results[name]["ok"], results[name]["detail"]
