"""Outcomes on disk, by a digest of everything that determines them: an interrupted run resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipstyler.evaluation.quality import QualityReport
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import Picture, encode
from clipstyler.output_files import write_whole
from clipstyler_lab.trials import Outcome

RECIPE = 1
"""Raised whenever the same trial would give another outcome; older outcomes are then made anew."""


class Store:
    """A folder with a picture and a record for each outcome."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, ingredients: Mapping[str, Any]) -> str:
        """Return the digest of what determines an outcome; `ingredients` must be plain values."""
        text = json.dumps({"recipe": RECIPE, **ingredients}, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def find(self, key: str) -> Outcome | None:
        """Return a stored outcome; None if there is none, its record is not readable, or its picture is missing."""
        if not self.picture(key).is_file():
            return None
        try:
            record = json.loads((self._folder / f"{key}.json").read_text())
            quality = QualityReport(**record.pop("quality"))
            return Outcome(picture=self.picture(key), quality=quality, **record)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def picture(self, key: str) -> Path:
        """Return where the picture of an outcome is."""
        return self._folder / f"{key}.png"

    def save_picture(self, key: str, picture: Picture) -> Path:
        """Write a picture; returns its path."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.picture(key), encode(picture, ImageFormat.PNG))
        return self.picture(key)

    def save(self, key: str, outcome: Outcome) -> None:
        """Write a record; its picture must be there already."""
        record = {name: value for name, value in asdict(outcome).items() if name != "picture"}
        write_whole(self._folder / f"{key}.json", json.dumps(record, indent=1).encode())
