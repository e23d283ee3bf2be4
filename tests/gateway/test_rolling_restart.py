"""Servers behind the gateway are restarted one after the other under load, and nothing is lost."""

from __future__ import annotations

import pytest

from benchmarks import rolling_restart


@pytest.mark.timeout(300)
def test_a_rolling_restart_fails_no_call_and_loses_and_doubles_no_job() -> None:
    outcome = rolling_restart.run(calls=200, callers=4)

    assert outcome.failures == {}
    assert outcome.is_clean
    assert outcome.calls >= 200
    assert outcome.durable_jobs > 10
    assert outcome.restarts == 2
