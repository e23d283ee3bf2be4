"""`clipstyler pocket`: train, measure and look at the bundled encoders, for whoever extends them."""

from __future__ import annotations

from importlib import import_module

import typer

from clipstyler_cli.faults import clear_errors

app = typer.Typer(no_args_is_help=True, help="Train, measure and look at the bundled encoders.")
# The tools have a command line of their own; this one hands everything on, `--help` too.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.callback()
def group() -> None:
    """Train, measure and look at the bundled encoders (`docs/pocket.md` tells the steps)."""


def _run(module: str, context: typer.Context) -> None:
    with clear_errors():
        import_module(f"clipstyler.pocket.{module}").main(context.args)


@app.command("fetch", context_settings=_PASS_ON)
def fetch(context: typer.Context) -> None:
    """Fetch the photos and textures that training draws after."""
    _run("fetch", context)


@app.command("teacher", context_settings=_PASS_ON)
def teacher(context: typer.Context) -> None:
    """Ask a sentence-embedding model what other words mean."""
    _run("teacher", context)


@app.command("train", context_settings=_PASS_ON)
def train(context: typer.Context) -> None:
    """Train the towers."""
    _run("train", context)


@app.command("refine", context_settings=_PASS_ON)
def refine(context: typer.Context) -> None:
    """Teach the text tower alone what the image tower sees."""
    _run("refine", context)


@app.command("average", context_settings=_PASS_ON)
def average(context: typer.Context) -> None:
    """Average checkpoints of one ancestry."""
    _run("average", context)


@app.command("evaluate", context_settings=_PASS_ON)
def evaluate(context: typer.Context) -> None:
    """Measure the towers on what they never saw."""
    _run("evaluate", context)


@app.command("sheet", context_settings=_PASS_ON)
def sheet(context: typer.Context) -> None:
    """Stylise photos by several texts and settings, and lay them out to look at."""
    _run("calibrate", context)
