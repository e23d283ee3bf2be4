"""Where the built live page is: in this package, so that it needs no Node.js."""

from __future__ import annotations

from pathlib import Path

_DIRECTORY = Path(__file__).resolve().with_name("page")


def page_directory() -> Path:
    """Return the directory of the built page.

    Raises
    ------
    FileNotFoundError
        It was not built: `make web` does it.
    """
    if not (_DIRECTORY / "index.html").is_file():
        raise FileNotFoundError(2, "the live page was not built: `make web` builds it", str(_DIRECTORY))
    return _DIRECTORY
