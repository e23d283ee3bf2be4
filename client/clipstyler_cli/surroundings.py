"""What a process may lack: a home directory, as users of a container do, a working directory, and a terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_PIPED_COLUMNS = "160"  # help is not cut


def prepare() -> None:
    """Set up the environment of this process and its children: a home directory, and the width of piped help."""
    if os.name == "posix" and not _has_home():
        os.environ["HOME"] = str(_private_directory())
    if sys.stdout is None or not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", _PIPED_COLUMNS)


def is_working_directory_gone() -> bool:
    """Whether the working directory was deleted."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def temporary_home() -> Path | None:
    """Return the home directory that `prepare` made, or None if the user has one."""
    home = Path(os.environ.get("HOME", ""))
    return home if home.name.startswith(_prefix()) and home.parent == Path(tempfile.gettempdir()) else None


def _has_home() -> bool:
    """Whether files can be written below the home directory, or a cache is there to be read."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - `Path.expanduser` raises without a home
    if not home.is_absolute():
        return False
    cache, data = home / ".cache", home / ".local" / "share"
    places = (home, cache, cache / "clipstyler", data, data / "clipstyler")
    return any(os.access(place, os.W_OK | os.X_OK) for place in places) or os.access(cache / "clipstyler", os.R_OK)


def _private_directory() -> Path:
    """Return this user's directory below the temporary one; a new one if another user holds its name."""
    directory = Path(tempfile.gettempdir(), _prefix())
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid == os.getuid() and found.st_mode & 0o077 == 0 and not directory.is_symlink():
        return directory
    return Path(tempfile.mkdtemp(prefix=_prefix() + "-"))


def _prefix() -> str:
    return f"clipstyler-home-{os.getuid()}"
