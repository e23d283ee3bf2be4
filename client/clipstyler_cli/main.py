"""The one `clipstyler` command, top of the house: it may use every room, and loads each only when it is needed."""

from __future__ import annotations

from typing import Annotated

import typer

from clipstyler_cli import (
    album,
    apply,
    check,
    classify,
    config,
    demo,
    evaluate,
    gateway,
    health,
    jobs,
    lab,
    live,
    models,
    serve,
    styles,
    stylize,
    tokens,
    video,
)
from clipstyler_cli.command_group import App, Group
from clipstyler_cli.terminal import say

app = App(
    cls=Group,
    name="clipstyler",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Stylize photos by text: here, or through a server.",
)
app.command("stylize")(stylize.command)
app.command("apply")(apply.command)
app.command("album")(album.command)
app.command("video")(video.command)
app.command("classify")(classify.command)
app.command("check")(check.command)
app.command("evaluate")(evaluate.command)
app.command("serve")(serve.command)
app.command("gateway")(gateway.command)
app.command("health")(health.command)
app.command("demo")(demo.command)
app.command("live")(live.command)
app.command("lab")(lab.command)
app.add_typer(jobs.app, name="jobs")
app.add_typer(styles.app, name="styles")
app.add_typer(config.app, name="config")
app.add_typer(models.app, name="models")
app.add_typer(tokens.app, name="tokens")


def _version(wanted: bool) -> None:
    if wanted:
        from clipstyler import __version__

        say(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Stylize photos by text: here, or through a server."""
