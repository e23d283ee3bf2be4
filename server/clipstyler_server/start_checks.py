"""What is checked before a server starts, besides each setting by itself: files of identity, addresses, sharing."""

from __future__ import annotations

from pathlib import Path

from clipstyler_server.identity.certificates import read_authorities
from clipstyler_server.identity.exposure import check_exposure
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.identity.private_files import IdentityError
from clipstyler_server.settings import Settings


class ServerStartError(Exception):
    """The server cannot start; the message says why and what to do."""


def check_start(settings: Settings) -> IdentityFiles:
    """Read the files of identity, and refuse settings that cannot be served.

    Raises
    ------
    ServerStartError
        Files cannot be used, settings do not go together, or an address would be open to other machines without TLS:
        all of it is named.
    """
    problems: list[str] = []
    identity = None
    try:
        identity = IdentityFiles(settings.identity_paths)
    except IdentityError as error:
        problems.append(str(error))
    problems += [*_exposures(settings), *_wrong_sharing(settings)]
    if settings.http_auth and not settings.tokens:
        problems.append("http_auth needs tokens: set the file of tokens too")
    if identity is None or problems:
        raise ServerStartError("; ".join(problems))
    return identity


def _exposures(settings: Settings) -> list[str]:
    has_tls = bool(settings.tls_cert and settings.tls_key)
    problems = []
    for name in ("host", "http_host"):
        try:
            check_exposure(getattr(settings, name), name, has_tls, settings.insecure)
        except IdentityError as error:
            problems.append(str(error))
    return problems


def _wrong_sharing(settings: Settings) -> list[str]:
    """Return why servers with these settings cannot share jobs."""
    if not settings.shared_dir:
        return []
    problems = []
    if not settings.database_url.startswith("postgresql"):
        problems.append("shared_dir needs a database that servers can share: set database_url to PostgreSQL's")
    if _is_unspecified(settings.host) and not settings.advertise:
        problems.append(
            f"other servers cannot call {settings.host}: set advertise to an address, HOST:PORT, at which they reach "
            "this one"
        )
    if settings.peer_ca:
        try:
            read_authorities(Path(settings.peer_ca))
        except IdentityError as error:
            problems.append(f"peer_ca {error}")
    return problems


def _is_unspecified(host: str) -> bool:
    return host.strip("[]") in {"", "0.0.0.0", "::"}
