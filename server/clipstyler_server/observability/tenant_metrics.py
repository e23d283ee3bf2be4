"""What each tenant has done, if that is switched on: the only metrics with names that people chose."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

MAX_TENANTS = 100
"""Tenants with a name of their own in metrics; further ones count together."""
# No tenant has such a name: it begins with a letter or digit.
OTHER_TENANTS = "_other"
NO_TENANT = "_none"
"""Of callers without credentials."""


class TenantMetrics:
    """Counts by tenant; does nothing unless it is switched on.

    Parameters
    ----------
    registry
        Where its metrics are.
    is_on
        Whether tenants are named.
    """

    def __init__(self, registry: CollectorRegistry, is_on: bool) -> None:
        self._known: set[str] = set()
        self._counters: dict[str, Counter] = {}
        if is_on:
            self._counters = {
                name: Counter(f"clipstyler_tenant_{name}", description, labels, registry=registry)
                for name, description, labels in (
                    ("calls", "Calls that ended, by tenant.", ("tenant", "grpc_status")),
                    ("jobs", "Jobs that ended, by tenant.", ("tenant", "outcome")),
                    ("steps", "Optimizer steps, by tenant.", ("tenant",)),
                )
            }

    def call_ended(self, tenant: str, status: str) -> None:
        """Count a call that has ended."""
        self._count("calls", tenant, status)

    def job_finished(self, tenant: str, outcome: str) -> None:
        """Count a finished job."""
        self._count("jobs", tenant, outcome)

    def steps_completed(self, tenant: str, steps: int) -> None:
        """Count optimizer steps."""
        self._count("steps", tenant, count=steps)

    def _count(self, name: str, tenant: str, *labels: str, count: int = 1) -> None:
        if counter := self._counters.get(name):
            counter.labels(self._label(tenant), *labels).inc(count)

    def _label(self, tenant: str) -> str:
        """Return a tenant's name, or the common one once there are too many, or the one of callers without."""
        if not tenant:
            return NO_TENANT
        if tenant not in self._known:
            if len(self._known) == MAX_TENANTS:
                return OTHER_TENANTS
            self._known.add(tenant)
        return tenant
