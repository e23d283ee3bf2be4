"""Where the gateway listens and which pages may call it: flags of `clipstyler gateway` and `clipstyler live`."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from clipstyler_cli.envoy_config import split_address
from clipstyler_cli.envoy_tls import ListenerTls
from clipstyler_cli.errors import GatewayConfigError, checked_together

_PANEL = "Callers"
_REMEDY = "set --listen-tls-cert and --listen-tls-key"

Listen = Annotated[
    str,
    typer.Option(
        help="HOST:PORT; port 0 picks a free one. Other addresses than loopback need a certificate, or --insecure.",
        rich_help_panel=_PANEL,
    ),
]
ListenTlsCert = Annotated[
    Path | None,
    typer.Option(help="Certificate chain for callers, in PEM: TLS, also for browsers.", rich_help_panel=_PANEL),
]
ListenTlsKey = Annotated[Path | None, typer.Option(help="Its private key.", rich_help_panel=_PANEL)]
Insecure = Annotated[bool, typer.Option("--insecure", help="Serve other machines without TLS.", rich_help_panel=_PANEL)]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(
        help="Origin of a page that may call, or *; repeatable. Pages on this machine always may, and the page of "
        "the address in --listen.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class Listener:
    """Where a gateway listens, and how.

    Attributes
    ----------
    host, port
        A numeric address, and its port.
    tls
        What it answers with by TLS; None to answer without.
    is_local
        Whether only this machine reaches it.
    """

    host: str
    port: int
    tls: ListenerTls | None
    is_local: bool


def listener(
    listen: str, certificate: Path | None, key: Path | None, is_insecure: bool, is_here: bool = True
) -> Listener:
    """Return what the flags mean.

    Parameters
    ----------
    listen, certificate, key, is_insecure
        The flags.
    is_here
        Whether the files are on this machine, so that they can be checked.

    Raises
    ------
    GatewayConfigError, SeveralProblemsError
        Values that cannot be used, or other machines would reach the gateway without TLS.
    """
    is_encrypted = bool(certificate or key)
    (host, port, is_local), tls = checked_together(
        partial(_address, listen, is_encrypted, is_insecure), partial(_tls, certificate, key, is_here)
    )
    return Listener(host, port, tls, is_local)


def _address(listen: str, is_encrypted: bool, is_insecure: bool) -> tuple[str, int, bool]:
    """Return the numeric address and the port to listen on, and whether only this machine reaches them."""
    # Imported here, and below: most commands do without.
    from clipstyler_server.identity.exposure import check_exposure, is_loopback
    from clipstyler_server.identity.private_files import IdentityError

    name, port = split_address(listen, "--listen")
    try:
        check_exposure(name, "--listen", is_encrypted, is_insecure, _REMEDY)
    except IdentityError as error:
        raise GatewayConfigError(str(error)) from error
    return _numeric(name), port, is_loopback(name)


def _tls(certificate: Path | None, key: Path | None, is_here: bool) -> ListenerTls | None:
    """Return what callers are answered with by TLS, once its files were looked at if they are here."""
    from clipstyler_server.identity.certificates import CertificateFiles
    from clipstyler_server.identity.private_files import IdentityError

    if (certificate is None) != (key is None):
        raise GatewayConfigError("--listen-tls-cert and --listen-tls-key go together: name both")
    if certificate is None or key is None:
        return None
    try:
        if is_here:
            CertificateFiles(certificate, key).read()
    except IdentityError as error:
        raise GatewayConfigError(str(error)) from error
    return ListenerTls(certificate, key)


def _numeric(host: str) -> str:
    """Return the address of a name, which Envoy would not look up."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise GatewayConfigError(f"--listen: {host!r} is no address of this machine: {error.strerror}") from error
