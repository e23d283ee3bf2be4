"""Which pictures of which package are what, by `sources.json`, and which of them are kept for testing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

SHEET = (
    "coffee",
    "flower",
    "egeskovslotspejling_background",
    "kingfisher",
    "red_panda",
    "hedgehog",
)
"""The six photos that stylizations are judged on, by the stems of their file names: never trained on."""
_TEST_SHARE = 0.15


def sources() -> dict[str, dict[str, Any]]:
    """The rules of every package, by its name: version, license, and patterns of paths from the right.

    `photos` and `stamps` (cut-outs) have lists `take` and `drop`; `textures/train` and `textures/judge` have a list
    for every concept or class.
    """
    found: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("sources.json").read_text())
    return found


@dataclass(frozen=True)
class Place:
    """Where a package's picture belongs: `photos`, `stamps`, or a folder of textures."""

    kind: str
    folder: str = ""


class Selection:
    """Which pictures of one package are taken, and as what; `rules` is the package's entry in `sources.json`."""

    def __init__(self, rules: dict[str, Any]) -> None:
        self._places: list[tuple[list[str], list[str], Place]] = []
        for kind in ("photos", "stamps"):
            if kind in rules:
                self._places.append((rules[kind]["take"], rules[kind].get("drop", []), Place(kind)))
        for kind in ("textures/train", "textures/judge"):
            for label, take in rules.get(kind, {}).items():
                self._places.append((take, [], Place("textures", f"{kind}/{label}")))

    def wants(self, name: str) -> bool:
        """Whether the file with this path inside the package is taken at all."""
        return self.place(name) is not None

    def place(self, name: str) -> Place | None:
        """Where the picture with this path inside the package belongs; None if nowhere."""
        path = PurePosixPath(name)
        for take, drop, place in self._places:
            if any(map(path.match, take)) and not any(map(path.match, drop)):
                return place
        return None


def stem_of(name: str) -> str:
    """A file name for a picture: lower case, no suffix; a wallpaper is called after its folder."""
    path = PurePosixPath(name)
    parts = [part for part in path.parts[:-1] if part not in {"contents", "images"}]
    return (parts[-1] if path.stem[:1].isdigit() and "x" in path.stem and parts else path.stem).lower()


def split_of(stem: str) -> str:
    """`train` or `test` by the hash of the name, whatever else is there; the judging sheet's photos are `test`."""
    share = hashlib.sha256(stem.encode()).digest()[0] / 256
    return "test" if stem in SHEET or share < _TEST_SHARE else "train"
