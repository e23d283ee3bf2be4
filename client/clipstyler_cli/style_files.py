"""Which style a command means: a file, or a style by its name, its text or its digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from clipstyler_client import InvalidRequestError

from clipstyler.input_files import read_whole
from clipstyler_cli.errors import UsageError

if TYPE_CHECKING:
    from clipstyler_client import Client

SUFFIX = ".style"
SHOWN_DIGITS = 12
"""How much of a style's digest a list shows; as much names the style."""


def read_style(name: str, argument: str = "STYLE") -> bytes:
    """Return the file of a style that is here: of a path, or bundled. `argument` is where the command names it.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    path = Path(name)
    if path.suffix == SUFFIX or path.is_file():
        try:
            return read_whole(path)
        except OSError as error:
            raise UsageError(f"{argument}: {path}: {error.strerror or error}") from error
    from clipstyler.style_library import bundled_styles

    for style in bundled_styles():
        if name in {style.name, f"styles/{style.digest}"} or _is_digest(name, style.digest):
            return style.data()
    raise UsageError(
        f"{argument}: {name!r} is neither a file nor a bundled style: `clipstyler styles list` shows those"
    )


def stored_on_server(client: Client, name: str, argument: str = "STYLE") -> str:
    """Return the resource name of a style on a server as `name_on_server`; a file that is here is uploaded first.

    Raises
    ------
    UsageError
        As `name_on_server`, or its file cannot be used.
    """
    if not Path(name).is_file():
        return name_on_server(client, name, argument)
    try:
        return client.styles.upload(read_style(name, argument)).name
    except InvalidRequestError as error:
        raise UsageError(f"{argument}: {name}: {error.violations[0].description}") from error


def name_on_server(client: Client, name: str, argument: str = "STYLE") -> str:
    """Return the resource name of a style on a server; that of a file that is here is the file's digest.

    Raises
    ------
    UsageError
        There is none of that name, or there are several of that text.
    """
    if Path(name).is_file():
        return f"styles/{hashlib.sha256(read_style(name, argument)).hexdigest()}"
    if name.startswith("styles/"):
        return name
    found = {
        style.name
        for style in client.styles.list()
        if name in {style.style_text, slug(style.style_text)} or _is_digest(name, style.name.rpartition("/")[2])
    }
    if len(found) != 1:
        problem = f"has several styles of {name!r}: name one by its digest" if found else f"has no style {name!r}"
        raise UsageError(f"{argument}: the server {problem}; `clipstyler styles list --server ...` shows them")
    return found.pop()


def _is_digest(name: str, digest: str) -> bool:
    """Return whether a name is a digest, or as much of it as a list shows."""
    return len(name) >= SHOWN_DIGITS and digest.startswith(name)


def slug(text: str) -> str:
    """Return a text as part of a file name."""
    words = "".join(character if character.isalnum() else " " for character in text.lower()).split()
    return "-".join(words)[:60] or "style"
