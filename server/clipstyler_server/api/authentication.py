"""Lets a call in: knows its caller by token or certificate before any of its requests is received."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from clipstyler_server.api.callers import Callers
from clipstyler_server.errors import Reason, ServiceError, error
from clipstyler_server.identity.authenticator import NotAuthenticatedError, Refusal
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.identity.rates import CallRates
from clipstyler_server.identity.roles import UNKNOWN, UNRESTRICTED, Principal, Role
from clipstyler_server.sharing import Caller

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]

# Balancers and orchestrators that ask for health have no credentials; it says no more than /readyz.
_OPEN_METHODS = "/grpc.health.v1.Health/"
_HEADER = "authorization"
PEER_HEADER = "x-clipstyler-peer"
"""Metadata by which a server knows another one of its database."""
# What gRPC has verified of a client's certificate. The common name counts only if there is no better name.
_NAMES = ("peer_uri", "peer_dns", "peer_email")
_COMMON_NAME = "x509_common_name"
_REFUSALS = {
    Refusal.MISSING: (
        Reason.CREDENTIALS_MISSING,
        'this server knows its callers: send a token in the metadata "authorization: Bearer TOKEN"',
    ),
    Refusal.INVALID: (
        Reason.CREDENTIALS_INVALID,
        "the credentials are not valid here, or no longer: ask the server's operator for others",
    ),
    Refusal.EXPIRED: (
        Reason.CREDENTIALS_EXPIRED,
        "the token has expired: ask the server's operator for another one",
    ),
}


class Gatekeeper:
    """Authenticates calls, and holds them to their role and their rate.

    Parameters
    ----------
    identity
        Whom the server trusts.
    callers
        Tells callers without credentials apart.
    peer_key
        Returns what other servers of the same database show; empty if there are none.
    """

    def __init__(self, identity: IdentityFiles, callers: Callers, peer_key: Callable[[], str]) -> None:
        self._peer_key = peer_key
        self._identity = identity
        self._callers = callers
        self._rates = CallRates()

    def admit(self, method: str, context: Context) -> Caller:
        """Return who makes a call.

        Raises
        ------
        ServiceError
            CREDENTIALS_MISSING, CREDENTIALS_INVALID, CREDENTIALS_EXPIRED, PERMISSION_DENIED or RATE_LIMITED.
        """
        if method.startswith(_OPEN_METHODS):
            return self._callers.of(context, UNKNOWN)
        if self._is_peer(context):
            return Caller(address="peer", is_peer=True)
        caller = self._callers.of(context, self._principal(context))
        if caller.principal.role is Role.PROBE:
            raise error(Reason.PERMISSION_DENIED, "the role {role} permits health and metrics only", role=Role.PROBE)
        wait_s = self._rates.take(caller.tenant, caller.limits)
        if wait_s > 0:
            raise error(
                Reason.RATE_LIMITED,
                "{tenant} may make {calls_per_minute} calls per minute: try again in {retry_s} s",
                retry_delay_s=wait_s,
                tenant=caller.tenant,
                calls_per_minute=caller.limits.calls_per_minute,
                retry_s=wait_s,
            )
        return caller

    def check_still_valid(self, caller: Caller) -> None:
        """Raise `ServiceError` CREDENTIALS_INVALID if the credentials of an admitted call were revoked or expired."""
        authenticator = self._identity.authenticator
        if authenticator and not authenticator.still_knows(caller.principal):
            raise _not_authenticated(Refusal.INVALID)

    def _is_peer(self, context: Context) -> bool:
        shown, key = _first(context, PEER_HEADER), self._peer_key()
        return bool(shown and key) and hmac.compare_digest(shown.encode(), key.encode())

    def _principal(self, context: Context) -> Principal:
        authenticator = self._identity.authenticator
        if authenticator is None:
            return UNRESTRICTED
        try:
            return authenticator.identify(_authorization(context), _certificate_names(context))
        except NotAuthenticatedError as refused:
            raise _not_authenticated(refused.refusal) from None


def _not_authenticated(refusal: Refusal) -> ServiceError:
    reason, message = _REFUSALS[refusal]
    return error(reason, message)


def _authorization(context: Context) -> str | None:
    """Return the header; what comes twice, or is not text, is no token."""
    found = [value for key, value in context.invocation_metadata() or () if key == _HEADER]
    if not found:
        return None
    value = found[0]
    return value if len(found) == 1 and isinstance(value, str) else ""


def _first(context: Context, header: str) -> str:
    """Return the first value of a header; empty if there is none."""
    found = (value for key, value in context.invocation_metadata() or () if key == header)
    return next((value for value in found if isinstance(value, str)), "")


def _certificate_names(context: Context) -> Iterable[str]:
    verified: Any = context.auth_context()
    names = [name for kind in _NAMES for name in verified.get(kind, ())]
    return [name.decode(errors="replace") for name in names or verified.get(_COMMON_NAME, ())]
