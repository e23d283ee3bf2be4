"""Concept name -> the function that draws it, as `vocabulary.toml` says."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from numpy.random import Generator

from clipstyler.pocket.knowledge import generators
from training.pocket.generators.noise import Array

Texture = Callable[[Generator, int], Array]
"""Draws (size, size, 3) in [0, 1] from nothing."""
Medium = Callable[[Generator, Array], Array]
"""Draws (size, size, 3) in [0, 1] after a photo of that shape."""


def _function(place: str) -> Any:
    module, name = place.split(".")
    return getattr(import_module(f"training.pocket.generators.{module}"), name)


TEXTURES: dict[str, Texture] = {name: _function(place) for name, place in generators()["textures"].items()}
MEDIA: dict[str, Medium] = {name: _function(place) for name, place in generators()["media"].items()}
