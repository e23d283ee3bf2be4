"""The text of a page token: bytes in the URL-safe alphabet of Base64, without padding. Bytes have one text only."""

from __future__ import annotations

import base64
import binascii


def token_text(token: bytes) -> str:
    """Return the text of a token."""
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def token_bytes(text: str) -> bytes | None:
    """Return the token that a text stands for; None if it is no text of one.

    The last character can have bits that stand for nothing. A text in which they are set is refused.
    """
    try:
        token = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return token if token_text(token) == text else None
