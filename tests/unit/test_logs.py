"""What of the libraries' logs is written."""

from __future__ import annotations

import logging

import pytest
from clipstyler_server.observability.logs import is_fault


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("ExecuteBatchError raised in core by servicer method [%s]", False),
        ("Invalid encoding on %s", False),
        ("Unexpected [ValueError] raised by servicer method [%s]", True),
    ],
)
def test_what_a_caller_did_is_no_fault(message: str, expected: bool) -> None:
    record = logging.makeLogRecord({"name": "grpc._cython.cygrpc", "msg": message, "args": ("/service/Method",)})
    assert is_fault(record) is expected
