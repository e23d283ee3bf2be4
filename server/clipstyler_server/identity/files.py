"""The files of identity as one: read at the start, read again when they change, and used as they were if that fails."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from clipstyler_server.identity.authenticator import Authenticator
from clipstyler_server.identity.certificates import CertificateFiles, Certificates
from clipstyler_server.identity.private_files import Fingerprint, IdentityError, fingerprint
from clipstyler_server.identity.tenants import Tenants, read_tenants
from clipstyler_server.identity.tokens import Token, read_tokens


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
        Files cannot be used, or do not go together: all of them are named.
    """

    def __init__(self, paths: IdentityPaths) -> None:
        problems = _wrong_combinations(paths)
        self._paths = paths
        self.authenticator: Authenticator | None = None
        self.certificates: Certificates | None = None
        self._certificate_files: CertificateFiles | None = None
        self._tokens: Mapping[str, Token] = {}
        self._tenants = Tenants()
        self._refreshing = threading.Lock()
        if paths.tls_cert and paths.tls_key:
            self._certificate_files = CertificateFiles(paths.tls_cert, paths.tls_key, paths.tls_client_ca)
        self._parts = list(self._watched())
        for part in self._parts:
            try:
                part.load()
            except IdentityError as error:
                problems.append(str(error))
        if problems:
            raise IdentityError("; ".join(problems))

    def context(self) -> ssl.SSLContext | None:
        """Return a context for servers of the standard library that follows the files; None without TLS."""
        if self.certificates is None:
            return None
        context = self.certificates.context
        # Not by loading new files into it: it would keep a certificate whose key is of another kind, and show that.
        context.sni_callback = self._show_current
        return context

    def refresh(self) -> list[Reload]:
        """Read again what has changed; returns what became of it. Blocks on the disk."""
        with self._refreshing:
            return [reload for part in self._parts if (reload := part.refresh())]

    def _watched(self) -> Iterable[_Watched]:
        if self._certificate_files:
            yield _Watched(self._certificate_files.paths, self._load_certificates)
        # Each by itself: a token is revoked even while the file of tenants cannot be used.
        if path := self._paths.tenants:
            yield _Watched((path,), partial(self._load_tenants, path))
        if path := self._paths.tokens:
            yield _Watched((path,), partial(self._load_tokens, path))

    def _load_certificates(self) -> None:
        assert self._certificate_files is not None
        self.certificates = self._certificate_files.read()

    def _show_current(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Answer a new connection, with a name or without, with the certificate of now."""
        assert self.certificates is not None
        connection.context = self.certificates.context

    def _load_tenants(self, path: Path) -> None:
        self._tenants = read_tenants(path)
        self.authenticator = Authenticator(self._tokens, self._tenants)

    def _load_tokens(self, path: Path) -> None:
        self._tokens = read_tokens(path)
        self.authenticator = Authenticator(self._tokens, self._tenants)


class _Watched:
    """Files that are loaded together."""

    def __init__(self, paths: tuple[Path, ...], load: Callable[[], None]) -> None:
        self._paths = paths
        self._load = load
        self._seen: tuple[Fingerprint | None, ...] = ()
        self._problem: str | None = None

    def load(self) -> None:
        # Looked at before they are read: a change while they are read is found the next time.
        self._seen = self._fingerprints()
        self._load()

    def refresh(self) -> Reload | None:
        """Load them if they changed, and again until they can be used: what was wrong need not show in the files."""
        before = self._problem
        if before is None and self._fingerprints() == self._seen:
            return None
        try:
            self.load()
            self._problem = None
        except IdentityError as error:
            self._problem = str(error)
        is_known = before is not None and self._problem == before
        return None if is_known else Reload(self._paths, self._problem)

    def _fingerprints(self) -> tuple[Fingerprint | None, ...]:
        return tuple(fingerprint(path) for path in self._paths)


def _wrong_combinations(paths: IdentityPaths) -> list[str]:
    problems = []
    if bool(paths.tls_cert) != bool(paths.tls_key):
        problems.append("tls_cert and tls_key go together: set both, or none")
    if paths.tls_client_ca and not paths.tls_cert:
        problems.append("tls_client_ca needs TLS: set tls_cert and tls_key too")
    if paths.tenants and not (paths.tokens or paths.tls_client_ca):
        problems.append("tenants needs credentials to know them by: set tokens or tls_client_ca too")
    if paths.tls_client_ca and not (paths.tokens or paths.tenants):
        problems.append("tls_client_ca needs tenants, the file of whose certificates are whose, or tokens")
    return problems
