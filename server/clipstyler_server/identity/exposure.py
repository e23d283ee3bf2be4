"""Where a server may listen without TLS: on this machine only, unless the operator insists."""

from __future__ import annotations

import ipaddress
import socket

from clipstyler_server.identity.private_files import IdentityError

_REMEDY = "set tls_cert and tls_key (--tls-cert, --tls-key)"


def check_exposure(host: str, setting: str, has_tls: bool, is_insecure: bool, remedy: str = _REMEDY) -> None:
    """Refuse to serve other machines without TLS.

    Parameters
    ----------
    host
        Where a port is to be opened.
    setting
        Name of the setting, for the message.
    has_tls, is_insecure
        Whether the port has TLS, and whether the operator permits to go without.
    remedy
        How the port gets TLS, for the message.

    Raises
    ------
    IdentityError
        Other machines would reach it without TLS.
    """
    if has_tls or is_insecure or is_loopback(host):
        return
    raise IdentityError(
        f"{setting} {host!r} can be reached from other machines, and there is no TLS: {remedy}, "
        "choose a loopback address, or permit it with --insecure"
    )


def is_loopback(host: str) -> bool:
    """Return whether every address of a host, IPv4 and IPv6, belongs to this machine alone."""
    try:
        return _is_loopback(host)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None) if host else []
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_loopback(str(entry[4][0])) for entry in found)


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
