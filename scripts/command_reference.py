"""Write docs/command.md, every command with its arguments and flags, from the command itself.

Examples
--------
    python scripts/command_reference.py            # write it
    python scripts/command_reference.py --check    # fail if it is stale
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from clipstyler_cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "command.md"
_HEAD = """# The command

Every command of `clipstyler` with its arguments and flags, written by `scripts/command_reference.py`.
`--help` after a command shows the same with examples.
"""


def commands(group: Any, path: str = "clipstyler") -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


def section(name: str, command: Any) -> str:
    """Describe one command."""
    rows = "".join(row(parameter) for parameter in command.params if parameter.help)
    table = f"\n| argument or flag | meaning |\n| --- | --- |\n{rows}" if rows else ""
    return f"\n## `{name}`\n\n{summary(command.help)}\n{table}"


def summary(text: str) -> str:
    """Return the first paragraph of a help text."""
    return " ".join(text.partition("\n\n")[0].split())


def row(parameter: Any) -> str:
    """Describe one argument or flag."""
    names = [*parameter.opts, *parameter.secondary_opts]
    is_flag = names[0].startswith("-")
    shown = ", ".join(f"`{name}`" for name in names) if is_flag else f"`{parameter.metavar or names[0]}`"
    default, is_told = parameter.default, "efault" in parameter.help or not parameter.show_default
    is_plain = isinstance(default, int | float | str) and not isinstance(default, bool) and default != ""
    shown_default = f" Default: {default}." if is_plain and not is_told else ""
    meaning = " ".join(parameter.help.split()).replace("|", "\\|")
    return f"| {shown} | {meaning}{shown_default} |\n"


def page() -> str:
    """Return the whole page."""
    return _HEAD + "".join(section(name, command) for name, command in commands(typer.main.get_command(app)))


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the page is stale, and write nothing")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        raise SystemExit("docs/command.md is stale: run scripts/command_reference.py")


if __name__ == "__main__":
    main()
