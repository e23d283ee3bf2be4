"""Credentials: certificates of TLS, and a token that every call carries."""

from __future__ import annotations

import ipaddress
import ssl
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from clipstyler_client._options import OptionError

_HEADER = "authorization"


def tls_credentials(
    ca: str | PathLike[str] | None = None,
    certificate: str | PathLike[str] | None = None,
    key: str | PathLike[str] | None = None,
) -> grpc.ChannelCredentials:
    """Read credentials of TLS from PEM files, for `Client(target, credentials)`.

    Parameters
    ----------
    ca
        Authorities that the server's certificate is checked against. Default: gRPC's own.
    certificate, key
        Certificate of the client and its private key, for a server that asks for one.

    Raises
    ------
    OSError
        A file cannot be read.
    OptionError
        A certificate without its key, or the other way round, a file that has no certificates, or a key of another one:
        gRPC would report it as a server that is not available.
    """
    if (certificate is None) != (key is None):
        raise OptionError("tls_cert", "a certificate and its key go together: name both")
    read = [None if path is None else Path(path).read_bytes() for path in (ca, key, certificate)]
    if ca is not None:
        _check_authorities(ca)
    if certificate is not None and key is not None:
        _check_pair(certificate, key)
    return grpc.ssl_channel_credentials(*read)


def _check_authorities(path: str | PathLike[str]) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise OptionError("tls_ca", f"{path} has no certificates in PEM") from None


def _check_pair(certificate: str | PathLike[str], key: str | PathLike[str]) -> None:
    try:
        # The password keeps it from asking for one on the terminal: gRPC uses no key that needs one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except ssl.SSLError:
        problem = f"{certificate} is no certificate in PEM, or {key} is not its private key, without a password"
        raise OptionError("tls_cert", problem) from None


def token_metadata(token: str | None, target: str, is_encrypted: bool) -> tuple[tuple[str, str], ...]:
    """Return the metadata that shows a token, which leaves this machine only encrypted.

    Raises
    ------
    OptionError
        It would leave this machine in the clear, or has characters that no token has.
    """
    if not token:
        return ()
    if not (isinstance(token, str) and token.isascii() and token.isprintable()) or " " in token:
        raise OptionError("token", "has characters that no token has")
    if not (is_encrypted or is_loopback(target)):
        raise OptionError("token", f"would be sent to {target} without encryption: connect with TLS credentials")
    return ((_HEADER, f"Bearer {token}"),)


def is_loopback(target: str) -> bool:
    """Return whether a target is on this machine; a list of addresses, of which gRPC takes any, is not."""
    if "," in target:
        return False
    address = target.rpartition("/")[2].removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:")
    try:
        host = urlsplit(f"//{address}").hostname or ""
    except ValueError:  # a bracket without the other one
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
