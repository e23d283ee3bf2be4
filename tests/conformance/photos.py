"""Photos, and files of styles, that the cases name."""

from __future__ import annotations

from functools import cache

from tests.service.harness import noise_photo, photo
from tests.service.styles import style_file

# Random pixels do not compress: 3 bytes each.
_LARGE_SIDE = 2290


@cache
def photo_named(name: str) -> bytes:
    """Return the bytes of a photo: `small`, `square`, `large` (15 MiB) or `broken`; `KeyError` for another name."""
    makers = {
        "small": photo,
        "square": lambda: photo(80, 80),
        "large": lambda: noise_photo(_LARGE_SIDE, _LARGE_SIDE),
        "broken": lambda: b"no photo",
    }
    return makers[name]()


@cache
def style_named(name: str) -> bytes:
    """Return the file of a style: `look`, `other` or `damaged`, with one flipped bit; `KeyError` for another name."""
    look = style_file("a look")
    damaged = bytes([*look[:-1], look[-1] ^ 1])
    return {"look": look, "other": style_file("another look"), "damaged": damaged}[name]
