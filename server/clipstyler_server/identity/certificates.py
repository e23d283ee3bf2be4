"""The server's certificate with its key, and the authority of client certificates, as files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from clipstyler_server.identity.private_files import IdentityError, read_private
from clipstyler_server.operator_files import read_regular

# A renewal replaces one file after the other: they are read until none changed meanwhile.
_MOST_READINGS = 5


@dataclass(frozen=True)
class Certificates:
    """What TLS is served with, in PEM.

    Attributes
    ----------
    chain, key
        The server's certificate, followed by intermediate ones, and its private key.
    expires_at
        When the first certificate of the chain expires.
    context
        Of chain and key, for servers of the standard library.
    client_ca
        Certificates of authorities whose client certificates are accepted; None if clients need none.
    """

    chain: bytes
    key: bytes
    expires_at: datetime
    context: ssl.SSLContext
    client_ca: bytes | None = None


@dataclass(frozen=True)
class CertificateFiles:
    """Where certificates are read from.

    Attributes
    ----------
    chain, key, client_ca
        Paths of what `Certificates` has; `client_ca` is None if clients need no certificate.
    """

    chain: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file."""
        return (self.chain, self.key, *((self.client_ca,) if self.client_ca else ()))

    def read(self) -> Certificates:
        """Read and check the files.

        Raises
        ------
        IdentityError
            One cannot be read, others may read the key, key and certificate do not belong together, a certificate has
            expired, or the files change all the time.
        """
        for _ in range(_MOST_READINGS):
            before = self._contents()
            try:
                certificates = self._checked(*before)
            except IdentityError:
                if self._contents() == before:
                    raise
                continue
            # OpenSSL takes chain and key by their paths only: what was checked must be what is served.
            if self._contents() == before:
                return certificates
        raise IdentityError(f"{self.chain} and {self.key} change while they are read")

    def _contents(self) -> tuple[bytes, bytes, bytes | None]:
        return read_private(self.key), _read(self.chain), _read(self.client_ca) if self.client_ca else None

    def _checked(self, key: bytes, chain: bytes, client_ca: bytes | None) -> Certificates:
        context = self._context()
        expires_at = self._expiry(chain)
        if expires_at <= datetime.now(UTC):
            raise IdentityError(f"{self.chain} expired at {expires_at.isoformat()}: no client would believe it")
        return Certificates(chain, key, expires_at, context, client_ca)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.chain, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise IdentityError(
                f"{self.chain} and {self.key} are no certificate and its private key, in PEM and without a password: "
                f"{getattr(error, 'reason', None) or error}"
            ) from error
        if self.client_ca:
            read_authorities(self.client_ca)
        return context

    def _expiry(self, chain: bytes) -> datetime:
        try:
            return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(chain))
        except ValueError as error:  # OpenSSL takes more than `cryptography` does
            raise IdentityError(f"{self.chain} has a certificate that cannot be read: {error}") from error


def read_authorities(path: Path) -> bytes:
    """Read certificates of authorities in PEM; raises `IdentityError` if that is impossible, or there are none."""
    authorities = _read(path)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(path))
    except OSError as error:
        raise IdentityError(f"{path} has no certificates of authorities in PEM: {error}") from error
    return authorities


def _no_password() -> str:
    """Keep OpenSSL from asking for a password on the terminal."""
    return ""


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from error
