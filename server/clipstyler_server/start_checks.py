"""What is checked before a server starts, besides each setting by itself: files of identity, addresses, sharing."""

from __future__ import annotations

from pathlib import Path

from clipstyler_server.identity.exposure import check_exposure
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.identity.private_files import IdentityError
from clipstyler_server.settings import Settings


class ServerStartError(Exception):
    """The server cannot start; the message says why and what to do."""


def identity_of(settings: Settings) -> IdentityFiles:
    """Read the files of identity, and refuse addresses that would be open to other machines without TLS.

    Raises
    ------
    IdentityError
        A file cannot be used, settings do not go together, or an address would be open.
    """
    identity = IdentityFiles(settings.identity_paths)
    for name in ("host", "http_host"):
        check_exposure(getattr(settings, name), name, identity.certificates is not None, settings.insecure)
    if settings.http_auth and not settings.tokens:
        raise IdentityError("http_auth needs tokens: set the file of tokens too")
    return identity


def check_sharing(settings: Settings) -> None:
    """Refuse settings with which servers cannot share jobs.

    Raises
    ------
    ServerStartError
        They do not go together.
    """
    if not settings.shared_dir:
        return
    if not settings.database_url.startswith("postgresql"):
        raise ServerStartError("shared_dir needs a database that servers can share: set database_url to PostgreSQL's")
    if _is_unspecified(settings.host) and not settings.advertise:
        raise ServerStartError(
            f"other servers cannot call {settings.host}: set advertise to an address, HOST:PORT, at which they reach "
            "this one"
        )
    if settings.peer_ca:
        try:
            Path(settings.peer_ca).read_bytes()
        except OSError as error:
            raise ServerStartError(f"peer_ca {settings.peer_ca} cannot be read: {error.strerror}") from error


def _is_unspecified(host: str) -> bool:
    return host.strip("[]") in {"", "0.0.0.0", "::"}
