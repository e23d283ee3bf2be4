"""Where the built live page is: in this package, so that using it needs no Node.js."""

from __future__ import annotations

from pathlib import Path

_DIRECTORY = Path(__file__).resolve().with_name("page")


def built_page() -> Path | None:
    """Return the directory of the page; None if it was not built (`make web` builds it)."""
    return _DIRECTORY if (_DIRECTORY / "index.html").is_file() else None
