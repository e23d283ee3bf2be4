"""Who calls: the one place that reads it from the connection and the headers of a call."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

from clipstyler_server.identity.roles import Principal
from clipstyler_server.sharing import Address, Caller, address_of, host_of, parse_host, site_of

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

CLIENT_HEADER = "x-clipstyler-client"
FORWARDED_HEADER = "x-forwarded-for"
_NAME = re.compile(r"[\x21-\x7e]{1,100}")
_current: ContextVar[Caller] = ContextVar("caller")


@dataclass(frozen=True)
class Callers:
    """Tells callers apart, also behind proxies that are trusted.

    Attributes
    ----------
    trusted_proxies
        Where proxies connect from whose `x-forwarded-for` is believed.
    """

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    def of(self, context: ServicerContext[Any, Any], principal: Principal) -> Caller:
        """Return who calls: an address, the name in the client header, and whom the credentials stand for."""
        name = next((name for name in _values(context, CLIENT_HEADER) if _NAME.fullmatch(name)), "")
        return Caller(self._address(context), name, principal)

    def _address(self, context: ServicerContext[Any, Any]) -> str:
        peer = context.peer()
        host = host_of(peer)
        if host is None or not self._trusts(host):
            return address_of(peer)
        return site_of(self._forwarded(context, host))

    def _forwarded(self, context: ServicerContext[Any, Any], proxy: Address) -> Address:
        """Return the address before the trusted proxies: each appends the one that it saw, after what it was given."""
        caller = proxy
        for entry in reversed(",".join(_values(context, FORWARDED_HEADER)).split(",")):
            host = parse_host(entry)
            if host is None:
                break
            caller = host
            if not self._trusts(host):
                break
        return caller

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self.trusted_proxies)


def _values(context: ServicerContext[Any, Any], header: str) -> list[str]:
    return [value for key, value in context.invocation_metadata() or () if key == header and isinstance(value, str)]


def enter_call(caller: Caller) -> None:
    """Make a caller the one of the call that this task answers."""
    _current.set(caller)


def current_caller() -> Caller:
    """Return who makes the call that this task answers."""
    return _current.get()
