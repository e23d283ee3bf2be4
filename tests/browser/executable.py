"""Where Chromium is."""

from __future__ import annotations

import shutil


def chromium() -> str | None:
    """The browser's executable; None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")
