"""The files of identity as one: read at the start, read again when they change, and used as they were if that fails."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clipstyler_server.identity.authenticator import Authenticator
from clipstyler_server.identity.certificates import CertificateFiles, Certificates
from clipstyler_server.identity.private_files import Fingerprint, IdentityError, fingerprint
from clipstyler_server.identity.tenants import Tenants, read_tenants
from clipstyler_server.identity.tokens import read_tokens


@dataclass(frozen=True)
class IdentityPaths:
    """Where the files are; None for those that are not used."""

    tokens: Path | None = None
    tenants: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None


class Reload(NamedTuple):
    """What became of files that changed: a problem if they are not used, else None."""

    paths: tuple[Path, ...]
    problem: str | None


class IdentityFiles:
    """Whom the server trusts, and with which certificate it serves, as its files say.

    Parameters
    ----------
    paths
        Of the files.

    Attributes
    ----------
    authenticator
        Knows tokens and tenants; None if the server asks for no credentials.
    certificates
        Of TLS; None if it serves without.

    Raises
    ------
    IdentityError
        A file cannot be used, or the files do not go together.
    """

    def __init__(self, paths: IdentityPaths) -> None:
        _check_combination(paths)
        self._paths = paths
        self.authenticator: Authenticator | None = None
        self.certificates: Certificates | None = None
        self._certificate_files: CertificateFiles | None = None
        self._contexts: list[ssl.SSLContext] = []
        self._refreshing = threading.Lock()
        if paths.tls_cert and paths.tls_key:
            self._certificate_files = CertificateFiles(paths.tls_cert, paths.tls_key, paths.tls_client_ca)
        self._parts = list(self._watched())
        for part in self._parts:
            part.load()

    def context(self) -> ssl.SSLContext | None:
        """Return a context for servers of the standard library that follows the files; None without TLS."""
        if self._certificate_files is None:
            return None
        context = self._certificate_files.context()
        self._contexts.append(context)
        return context

    def refresh(self) -> list[Reload]:
        """Read again what has changed; returns what became of it. Blocks on the disk."""
        with self._refreshing:
            return [reload for part in self._parts if (reload := part.refresh())]

    def _watched(self) -> Iterable[_Watched]:
        if self._certificate_files:
            yield _Watched(self._certificate_files.paths, self._load_certificates)
        access = tuple(path for path in (self._paths.tokens, self._paths.tenants) if path)
        if access:
            yield _Watched(access, self._load_access)

    def _load_certificates(self) -> None:
        assert self._certificate_files is not None
        self.certificates = self._certificate_files.read()
        for context in self._contexts:
            self._certificate_files.load_into(context)

    def _load_access(self) -> None:
        tokens = read_tokens(self._paths.tokens) if self._paths.tokens else {}
        tenants = read_tenants(self._paths.tenants) if self._paths.tenants else Tenants()
        self.authenticator = Authenticator(tokens, tenants)


class _Watched:
    """Files that are loaded together."""

    def __init__(self, paths: tuple[Path, ...], load: Callable[[], None]) -> None:
        self._paths = paths
        self._load = load
        self._seen: tuple[Fingerprint | None, ...] = ()

    def load(self) -> None:
        # Looked at before they are read: a change while they are read is found the next time.
        self._seen = self._fingerprints()
        self._load()

    def refresh(self) -> Reload | None:
        if self._fingerprints() == self._seen:
            return None
        try:
            self.load()
        except IdentityError as error:
            return Reload(self._paths, str(error))
        return Reload(self._paths, None)

    def _fingerprints(self) -> tuple[Fingerprint | None, ...]:
        return tuple(fingerprint(path) for path in self._paths)


def _check_combination(paths: IdentityPaths) -> None:
    if bool(paths.tls_cert) != bool(paths.tls_key):
        raise IdentityError("tls_cert and tls_key go together: set both, or none")
    if paths.tls_client_ca and not paths.tls_cert:
        raise IdentityError("tls_client_ca needs TLS: set tls_cert and tls_key too")
    if paths.tenants and not (paths.tokens or paths.tls_client_ca):
        raise IdentityError("tenants needs credentials to know them by: set tokens or tls_client_ca too")
    if paths.tls_client_ca and not (paths.tokens or paths.tenants):
        raise IdentityError("tls_client_ca needs tenants, the file of whose certificates are whose, or tokens")
