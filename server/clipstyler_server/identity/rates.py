"""How often a tenant may call: a token bucket each, filled at its rate up to its burst."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from clipstyler_server.identity.roles import Limits

_DEFAULT_BURST_S = 10.0  # of calls at the rate, if the burst is not limited itself


@dataclass
class _Bucket:
    level: float
    filled_at: float


def burst_of(limits: Limits) -> int:
    """Return how many calls may come at once; 0 if there is no limit of calls."""
    if limits.calls_per_minute is None:
        return 0
    return limits.call_burst or max(1, int(_DEFAULT_BURST_S * limits.calls_per_minute / 60))


class CallRates:
    """The buckets of all tenants."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def take(self, tenant: str, limits: Limits) -> float:
        """Count a call of a tenant; returns 0, or the seconds after which it may come, and then it is not counted.

        They are whole milliseconds, as callers are told, and rounded up: a call after them is admitted.
        """
        if limits.calls_per_minute is None:
            return 0.0
        rate, burst, now = limits.calls_per_minute / 60, float(burst_of(limits)), time.monotonic()
        bucket = self._buckets.setdefault(tenant, _Bucket(burst, now))
        bucket.level = min(burst, bucket.level + rate * (now - bucket.filled_at))
        bucket.filled_at = now
        if bucket.level >= 1:
            bucket.level -= 1
            return 0.0
        return math.ceil(1000 * (1 - bucket.level) / rate) / 1000
