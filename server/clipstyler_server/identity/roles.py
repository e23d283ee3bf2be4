"""Who a caller is once it is authenticated: a tenant in a role, with limits of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TENANT_RULE = "1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"


class Role(StrEnum):
    """What a caller may do."""

    USER = "user"
    """Its tenant's own jobs and uploads."""
    OPERATOR = "operator"
    """Those of all tenants, and draining the server."""
    PROBE = "probe"
    """Health and metrics only."""


@dataclass(frozen=True)
class Limits:
    """Limits of a tenant; None leaves a limit to the server's settings.

    Attributes
    ----------
    max_calls
        Open calls.
    calls_per_minute, call_burst
        Calls per minute on average, and how many may come at once.
    queue_share
        Largest fraction of the places in the queue, above 0 and at most 1.
    max_stored_bytes
        Bytes of uploads, photos and results.
    max_size, max_steps
        Of a stylization.
    max_output_size
        Longest side of results, in pixels; by default `max_size`, if there is one.
    """

    max_calls: int | None = None
    calls_per_minute: int | None = None
    call_burst: int | None = None
    queue_share: float | None = None
    max_stored_bytes: int | None = None
    max_size: int | None = None
    max_steps: int | None = None
    max_output_size: int | None = None

    def output_limit(self, of_server: int) -> int:
        """Return the longest side that results may have, of stylizations and of styles that are applied."""
        own = self.max_size if self.max_output_size is None else self.max_output_size
        return of_server if own is None else min(own, of_server)


@dataclass(frozen=True)
class Principal:
    """An authenticated caller.

    Attributes
    ----------
    tenant
        Owner of what it creates; empty if the server asks for no credentials.
    role
        What it may do.
    limits
        Of its tenant.
    token_id
        Public part of its token; empty for a certificate.
    certificate
        The name in its certificate by which it is known; empty for a token.
    expires_at
        When its token expires; None if it does not.
    """

    tenant: str
    role: Role
    limits: Limits = field(default_factory=Limits)
    token_id: str = ""
    certificate: str = ""
    expires_at: datetime | None = None

    @property
    def scope(self) -> str | None:
        """The tenant whose jobs and images it may use; None for all."""
        return None if self.role is Role.OPERATOR else self.tenant


UNRESTRICTED = Principal("", Role.OPERATOR)
"""Every caller of a server that asks for no credentials."""
UNKNOWN = Principal("", Role.PROBE)
"""A caller without credentials, of the methods that need none."""


def is_tenant_name(text: str) -> bool:
    """Return whether a text is a well-formed name of a tenant."""
    return _TENANT.fullmatch(text) is not None
