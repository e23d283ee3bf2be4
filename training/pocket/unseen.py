"""Wordings of the concepts that training never sees, kept for evaluation."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path


@cache
def unseen_wordings() -> dict[str, tuple[str, ...]]:
    """Return the held-out wordings of each concept, by the concept's name."""
    table = tomllib.loads(Path(__file__).with_name("unseen.toml").read_text("utf-8"))
    return {name: tuple(words) for name, words in table.items()}
