"""Decides who a caller is, by its bearer token or its client certificate."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from clipstyler_server.identity.roles import Principal
from clipstyler_server.identity.tenants import CertificateOwner, Tenants
from clipstyler_server.identity.tokens import Token, digest_of, id_in

_SCHEME = "bearer"
# Longer than any token: more is not looked at.
_MAX_CHARACTERS = 200
# Compared with what names no token, so that an unknown id takes as long as a wrong secret.
_NO_DIGEST = "0" * 64


class Refusal(StrEnum):
    """Why a caller is not authenticated."""

    MISSING = "missing"
    INVALID = "invalid"
    EXPIRED = "expired"


class NotAuthenticatedError(Exception):
    """The caller has not shown who it is."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Authenticator:
    """Knows the valid tokens and certificates.

    Parameters
    ----------
    tokens
        By their public part.
    tenants
        Limits, and owners of certificates.
    """

    def __init__(self, tokens: Mapping[str, Token], tenants: Tenants) -> None:
        self._tokens = tokens
        self._tenants = tenants

    def identify(self, authorization: str | None, certificate_names: Iterable[str] = ()) -> Principal:
        """Return who a caller is. A token decides if there is one, else the certificate.

        Parameters
        ----------
        authorization
            Value of the header of that name, "Bearer TOKEN"; None if there is none.
        certificate_names
            Names in the verified certificate of its connection.

        Raises
        ------
        NotAuthenticatedError
            There are no credentials, or they are not valid (any more).
        """
        if authorization is not None:
            return self._of_token(authorization)
        for name in certificate_names:
            if owner := self._tenants.certificates.get(name):
                return Principal(owner.tenant, owner.role, self._tenants.limits_of(owner.tenant), certificate=name)
        raise NotAuthenticatedError(Refusal.MISSING)

    def still_knows(self, principal: Principal) -> bool:
        """Return whether the credentials of a caller that was identified before stand for the same now."""
        who = principal.tenant, principal.role
        if principal.token_id:
            token = self._tokens.get(principal.token_id)
            return token is not None and (token.tenant, token.role) == who and not _is_expired(token)
        if principal.certificate:
            return self._tenants.certificates.get(principal.certificate) == CertificateOwner(*who)
        return True

    def _of_token(self, authorization: str) -> Principal:
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.lower() != _SCHEME or len(text) > _MAX_CHARACTERS:
            raise NotAuthenticatedError(Refusal.INVALID)
        token = self._tokens.get(id_in(text))
        is_right = hmac.compare_digest(digest_of(text), token.digest if token else _NO_DIGEST)
        if token is None or not is_right:
            raise NotAuthenticatedError(Refusal.INVALID)
        if _is_expired(token):
            raise NotAuthenticatedError(Refusal.EXPIRED)
        limits = self._tenants.limits_of(token.tenant)
        return Principal(token.tenant, token.role, limits, token.id, expires_at=token.expires_at)


def _is_expired(token: Token) -> bool:
    return token.expires_at is not None and token.expires_at <= datetime.now(UTC)
