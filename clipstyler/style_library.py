"""The bundled styles: fitted by this project to looks that `pocket` draws well. No PyTorch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipstyler.style import SUFFIX, StyleDescription, digest_of, load_style

FOLDER = Path(__file__).parent / "styles"


@dataclass(frozen=True)
class BundledStyle:
    """A bundled style.

    Attributes
    ----------
    name
        Short, such as "stained-glass".
    path
        Its file.
    digest
        SHA-256 of that in lower-case hexadecimal.
    description
        What describes it.
    size_bytes
        Of the file.
    """

    name: str
    path: Path
    digest: str
    description: StyleDescription
    size_bytes: int

    def data(self) -> bytes:
        """Return the bytes of the file."""
        return self.path.read_bytes()


def bundled_styles() -> list[BundledStyle]:
    """Read all bundled styles, in the order of their names."""
    found = []
    for path in sorted(FOLDER.glob(f"*{SUFFIX}")):
        data = path.read_bytes()
        found.append(BundledStyle(path.stem, path, digest_of(data), load_style(data).description, len(data)))
    return found
