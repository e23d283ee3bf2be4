"""The user's directories, also for a user without a home directory, as those of containers often are."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path


def cache_directory() -> Path:
    """Return the user's cache of this package.

    Without a home directory it lies below `private_directory`, as if that were the home directory.
    """
    from platformdirs import user_cache_path  # not in a light install

    if not _lacks_home() or "XDG_CACHE_HOME" in os.environ:
        return user_cache_path("clipstyler")
    return _private_directory_of_process() / ".cache" / "clipstyler"


def ensure_home() -> None:
    """Let a private temporary directory stand in for a missing home directory, in this process and its children."""
    if _lacks_home():
        os.environ["HOME"] = str(private_directory())


def temporary_home() -> Path | None:
    """Return the home directory that `ensure_home` made, or None if the user has one."""
    home = Path(os.environ.get("HOME", ""))
    return home if home.name.startswith(_prefix()) and home.parent == Path(tempfile.gettempdir()) else None


def private_directory() -> Path:
    """Return this user's directory below the temporary one; a new one if another user holds its name.

    Raises
    ------
    OSError
        Files cannot be written to any temporary directory.
    """
    directory = Path(tempfile.gettempdir(), _prefix())
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid == os.getuid() and found.st_mode & 0o077 == 0 and not directory.is_symlink():
        return directory
    return Path(tempfile.mkdtemp(prefix=_prefix() + "-"))


_private_directory_of_process = functools.cache(private_directory)


def _lacks_home() -> bool:
    """Whether no file can be written below the home directory, and no cache is there to be read."""
    if os.name != "posix":
        return False
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - `Path.expanduser` raises without a home
    if not home.is_absolute():
        return True
    cache, data = home / ".cache", home / ".local" / "share"
    places = (home, cache, cache / "clipstyler", data, data / "clipstyler")
    return not (
        any(os.access(place, os.W_OK | os.X_OK) for place in places) or os.access(cache / "clipstyler", os.R_OK)
    )


def _prefix() -> str:
    return f"clipstyler-home-{os.getuid()}"
