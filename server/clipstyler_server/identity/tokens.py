"""Bearer tokens and the file that has their digests, one per line.

A token is `clipstyler_ID_SECRET`: the id is public, the secret has 256 random bits. The file has the SHA-256 of the
token only. A slow hash would add nothing: 256 random bits cannot be guessed, and every call would pay for it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clipstyler_server.identity.private_files import IdentityError, read_private
from clipstyler_server.identity.roles import TENANT_RULE, Role, is_tenant_name

_PREFIX = "clipstyler_"
_ID_BYTES = 6
_SECRET_BYTES = 32
_DIGEST = "sha256:"
_DIGEST_LETTERS = 64
_NEVER = "never"
_HEADER = """\
# Tokens of clipstyler: id, tenant, role, expiry (UTC or never), digest. Deleting a line revokes its token.
"""


@dataclass(frozen=True)
class Token:
    """A token as it is stored.

    Attributes
    ----------
    id
        Public part, for lists and logs.
    tenant, role
        Who has it, and what it permits.
    expires_at
        In UTC; None for never.
    digest
        SHA-256 of the whole token, lower-case hexadecimal.
    """

    id: str
    tenant: str
    role: Role
    expires_at: datetime | None
    digest: str

    def line(self) -> str:
        """Return the token's line in the file."""
        expiry = self.expires_at.isoformat(timespec="seconds") if self.expires_at else _NEVER
        return f"{self.id} {self.tenant} {self.role} {expiry} {_DIGEST}{self.digest}\n"


def draw(tenant: str, role: Role, expires_at: datetime | None) -> tuple[str, Token]:
    """Draw a token; returns its text, which is stored nowhere, and what is stored.

    Raises
    ------
    IdentityError
        The tenant's name is malformed.
    """
    if not is_tenant_name(tenant):
        raise IdentityError(f"{tenant!r} is no name of a tenant: it has {TENANT_RULE}")
    token_id = secrets.token_hex(_ID_BYTES)
    text = f"{_PREFIX}{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return text, Token(token_id, tenant, role, expires_at, digest_of(text))


def digest_of(text: str) -> str:
    """Return the digest that is stored of a token."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def id_in(text: str) -> str:
    """Return the public part of what may be a token; empty if it has none."""
    token_id, separator, _ = text.removeprefix(_PREFIX).partition("_")
    return token_id if text.startswith(_PREFIX) and separator else ""


def read_tokens(path: Path) -> dict[str, Token]:
    """Read the file of tokens, by id.

    Raises
    ------
    IdentityError
        It cannot be read, others may change or read it, or lines are malformed: all are named.
    """
    return parse_tokens(read_private(path), str(path))


def parse_tokens(content: bytes, name: str) -> dict[str, Token]:
    """Read tokens from the bytes of a file; `name` is for messages. Raises `IdentityError`."""
    tokens: dict[str, Token] = {}
    problems = []
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            token = _parse(line)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if token.id in tokens:
            problems.append(f"line {number}: the id {token.id} is there twice")
        tokens[token.id] = token
    if problems:
        raise IdentityError(f"{name} is no file of tokens: {'; '.join(problems)}")
    return tokens


def add_token(path: Path, token: Token) -> None:
    """Add a token to the file, which is created for its owner only. Raises `IdentityError`."""
    with _exclusively(path):
        before = read_private(path).decode(errors="surrogateescape") if path.exists() else _HEADER
        parse_tokens(before.encode(errors="surrogateescape"), str(path))
        complete = before if before.endswith("\n") or not before else before + "\n"
        _replace(path, complete + token.line())


def remove_token(path: Path, token_id: str) -> Token:
    """Remove a token from the file and return it; comments and other lines stay. Raises `IdentityError`."""
    with _exclusively(path):
        content = read_private(path)
        removed = parse_tokens(content, str(path)).get(token_id)
        if removed is None:
            raise IdentityError(f"{path} has no token {token_id!r}: `clipstyler tokens list` shows those that it has")
        lines = content.decode(errors="surrogateescape").splitlines(keepends=True)
        _replace(path, "".join(line for line in lines if line.split()[:1] != [token_id]))
    return removed


def _parse(line: str) -> Token:
    words = line.split()
    if len(words) != 5:
        raise ValueError(f"has {len(words)} words instead of 5: id, tenant, role, expiry, digest")
    token_id, tenant, role, expiry, digest = words
    if not is_tenant_name(tenant):
        raise ValueError(f"the tenant's name must have {TENANT_RULE}")
    if role not in list(Role):
        raise ValueError(f"the role must be one of {', '.join(Role)}")
    letters = digest.removeprefix(_DIGEST)
    if not digest.startswith(_DIGEST) or len(letters) != _DIGEST_LETTERS or set(letters) - set("0123456789abcdef"):
        raise ValueError(f"the digest must be {_DIGEST} and {_DIGEST_LETTERS} digits 0 to f")
    return Token(token_id, tenant, Role(role), _parse_expiry(expiry), letters)


def _parse_expiry(text: str) -> datetime | None:
    if text == _NEVER:
        return None
    try:
        expiry = datetime.fromisoformat(text)
        return expiry.replace(tzinfo=UTC) if expiry.tzinfo is None else expiry.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"the expiry must be {_NEVER} or a time such as 2030-01-31T00:00:00Z") from None


@contextmanager
def _exclusively(path: Path) -> Iterator[None]:
    """Keep others from changing files of this directory by this module."""
    import fcntl  # Windows has none; only this needs it

    try:
        directory = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise IdentityError(f"{path.parent} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _replace(path: Path, content: str) -> None:
    """Write a file for its owner only, completely or not at all."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path.resolve())
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
