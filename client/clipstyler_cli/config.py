"""`clipstyler config`: the settings of a server, where each comes from, and whether they can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipstyler_cli.command_group import App
from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.terminal import Terminal, print_json, say, table

app = App(no_args_is_help=True, help="Show and check the settings of a server.")

_File = Annotated[
    Path | None,
    typer.Option("--config", envvar="CLIPSTYLER_CONFIG", help="TOML file whose keys are names of settings."),
]


@app.callback()
def group() -> None:
    """Show and check the settings of a server: its flags, the environment, a TOML file and defaults, in that order."""


@app.command()
def show(config: _File = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting with where it comes from. Passwords are hidden.

    Examples
    --------
      clipstyler config show

      clipstyler config show --config server.toml --json
    """
    with clear_errors():
        from clipstyler_server.configuration import ConfigurationError, load, origins  # an extra

        path = None if config is None else str(config)
        try:
            found = origins(load(path), path)
        except ConfigurationError as error:
            raise UsageError(str(error)) from error
        if as_json:
            print_json({entry.name: {"value": entry.value, "origin": entry.origin} for entry in found})
            return
        shown = table("setting", "value", "from", box=None)
        for entry in found:
            shown.add_row(entry.name, entry.value, "" if entry.origin == "default" else entry.origin)
        Terminal().print(shown)


@app.command()
def check(config: _File = None) -> None:
    """Check settings and the files of identity that they name, and start nothing.

    Examples
    --------
      clipstyler config check --config server.toml
    """
    with clear_errors():
        from clipstyler_server.configuration import ConfigurationError, load
        from clipstyler_server.start_checks import ServerStartError, check_start

        try:
            check_start(load(None if config is None else str(config)))
        except (ConfigurationError, ServerStartError) as error:
            raise UsageError(str(error)) from error
        say("the settings can be used")
