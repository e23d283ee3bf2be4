"""What unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """Keep how lines are logged from test to test: an actor that runs in this process configures it as its own."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
