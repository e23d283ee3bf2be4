"""All printing of the command: literal, with control characters made visible, and uncut when it is piped."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

_UNLIMITED = 100_000  # columns
# They reorder or break a line without being control characters.
_STEERING = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    """Return a text with visible escapes for control characters, direction overrides and undecodable bytes."""
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that is not UTF-8, as Python passes it
        return f"\\x{ord(character) - 0xDC00:02x}"
    steers = character in _STEERING or unicodedata.category(character) in {"Cc", "Cs"}
    return ascii(character)[1:-1] if steers and character not in _KEPT else character


class Terminal(Console):
    """A console on which a text is never markup, an emoji code or a control sequence.

    Lines are as wide as a terminal, and unlimited elsewhere. A closed stdout ends the command quietly; a stderr that is
    closed, or behind which the disk is full, ends only its messages.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream is not None and stream.isatty() else _UNLIMITED
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False, width=width)

    def render_str(self, text: str, *args: Any, **kwargs: Any) -> Text:
        """Render a text literally."""
        return super().render_str(printable(text), *args, **kwargs)

    def __exit__(self, *exception: Any) -> None:
        """Write what was printed."""
        try:
            super().__exit__(*exception)
        except OSError:
            if not self.stderr:
                raise
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Write nothing more, also when the interpreter exits."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        if not self.stderr:
            raise SystemExit(1)


def say(line: str) -> None:
    """Print a line of output."""
    Terminal().print(line, soft_wrap=True)


def complain(line: str) -> None:
    """Print a line on stderr."""
    Terminal(stderr=True).print(line, soft_wrap=True)


def restore_cursor() -> None:
    """Show the cursor of the terminal again: a progress bar that is not ended leaves it hidden."""
    Terminal(stderr=True).show_cursor()


def print_json(values: Any) -> None:
    """Print values as JSON, in ASCII."""
    say(json.dumps(values, indent=2))


def styled(text: str, style: str) -> Text:
    """Return a text to be printed literally in a style."""
    return Text(printable(text), style)


def table(*headers: str, first_width: int | None = None, **layout: Any) -> Table:
    """Return a table whose cells are folded where a terminal is too narrow, never cut.

    Parameters
    ----------
    headers
        Of the columns.
    first_width
        Least width of the first column.
    **layout
        Of `rich.table.Table`.
    """
    columns = [Column(header, overflow="fold") for header in headers]
    if columns:
        columns[0].min_width = first_width
    return Table(*columns, **layout)
