"""One control for all runners, so that each server starts once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.serve import serving


@pytest.fixture(scope="package")
def control() -> Iterator[str]:
    with serving() as address:
        yield address
