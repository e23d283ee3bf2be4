"""The concepts that the `pocket` encoders are trained on, their wordings and modifiers. No PyTorch here."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

PHOTO = "photo"


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__ or "").joinpath(name).read_text("utf-8"))


@cache
def generators() -> dict[str, dict[str, str]]:
    """Concepts and the generators that draw them, as "module.function": of "textures" and of "media"."""
    vocabulary = _table("vocabulary.toml")
    return {kind: {name: line["draws"] for name, line in vocabulary[kind].items()} for kind in ("textures", "media")}


@cache
def known_concepts() -> tuple[str, ...]:
    """Names of the concepts that the encoders were taught, the photo first."""
    return (PHOTO, *generators()["textures"], *generators()["media"])


@cache
def wordings() -> dict[str, tuple[str, ...]]:
    """The training captions of every concept, its name first."""
    vocabulary = _table("vocabulary.toml")
    lines = vocabulary["textures"] | vocabulary["media"]
    return {PHOTO: (PHOTO, *vocabulary[PHOTO])} | {name: (name, *line["wordings"]) for name, line in lines.items()}


@cache
def modifiers() -> dict[str, tuple[str, ...]]:
    """Words for colors and moods that combine with any concept, by the name of the modifier."""
    return {name: tuple(words) for name, words in _table("vocabulary.toml")["modifiers"].items()}
