"""Photos that a style is fitted to if its caller sends none: a portrait, a cat and a rocket, from scikit-image."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_NAMES = ("astronaut.png", "chelsea.png", "rocket.jpg")


def bundled_photos() -> list[bytes]:
    """Read their files; the package that has them is not imported."""
    found = find_spec("skimage")
    assert found is not None  # the server depends on it
    assert found.submodule_search_locations is not None
    return [(Path(found.submodule_search_locations[0]) / "data" / name).read_bytes() for name in _NAMES]
