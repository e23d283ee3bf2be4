"""Style images and labeled images: a folder of pictures for each look, named like it."""

from __future__ import annotations

from pathlib import Path

from clipstyler.imaging import Picture, decode
from clipstyler.prompts import normalize

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


class Gallery:
    """The pictures of a folder, read when they are asked for.

    Attributes
    ----------
    files
        By look, sorted; a look's first picture is its style image.
    """

    def __init__(self, folder: Path) -> None:
        looks = sorted(path for path in folder.iterdir() if path.is_dir())
        found = {look.name: [p for p in sorted(look.iterdir()) if p.suffix.lower() in _SUFFIXES] for look in looks}
        self.files = {name: files for name, files in found.items() if files}

    @property
    def looks(self) -> tuple[str, ...]:
        """Names of all looks."""
        return tuple(self.files)

    def look_of(self, text: str) -> str | None:
        """Return the look that a text names, whatever its case and spaces; None if there is none."""
        named = (look for look in self.files if _comparable(look) == _comparable(text))
        return text if text in self.files else next(named, None)

    def style(self, look: str) -> Picture:
        """Return the style image of a look."""
        return decode(self.files[look][0].read_bytes())

    def labeled(self) -> list[tuple[str, Path]]:
        """Return every picture with the name of its look."""
        return [(look, path) for look, paths in self.files.items() for path in paths]


def _comparable(text: str) -> str:
    return normalize(text).casefold()
