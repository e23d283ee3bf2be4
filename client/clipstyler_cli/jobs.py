"""`clipstyler jobs`: the durable jobs of a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from clipstyler_client import Client, Job

from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.command_group import App
from clipstyler_cli.connection import DEFAULT, Target, with_connection_flags
from clipstyler_cli.errors import JobGoesOnError, UsageError, clear_errors
from clipstyler_cli.files import IMAGE_SUFFIXES, Delivery
from clipstyler_cli.progress import Display
from clipstyler_cli.runs import followed
from clipstyler_cli.terminal import Terminal, print_json, say, styled, table

STATES = "queued, running, succeeded, failed, cancelled"
app = App(no_args_is_help=True, help="List, watch, cancel and download the jobs of a server.")

_Server = Annotated[Target, typer.Option(help="HOST:PORT of the server.")]
_Name = Annotated[str, typer.Argument(help="Name of the job, or its UUID.", show_default=False)]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_STYLES = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "bold cyan"}


@app.callback()
def group() -> None:
    """List, watch, cancel and download the jobs of a server; `clipstyler stylize --detach` creates them."""


@app.command("list")
@with_connection_flags
def list_(
    server: _Server = DEFAULT,
    state: Annotated[str | None, typer.Option(help=f"Only jobs in this state: {STATES}.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 50,
    as_json: _AsJson = False,
) -> None:
    """List jobs, newest first.

    Examples
    --------
      clipstyler jobs list

      clipstyler jobs list --state running --json
    """
    with _connected(server) as client:
        found = list(islice(client.jobs.list(state), min(limit, sys.maxsize)))
        if as_json:
            print_json([_plain(job) for job in found])
            return
        shown = table("job", "state", "text", "created", "progress", first_width=36, box=None)
        for job in found:
            colored = styled(job.state, _STYLES.get(job.state, "default"))
            shown.add_row(job.name.rpartition("/")[2], colored, job.spec.style_text, _when(job.created), _progress(job))
        Terminal().print(shown)


@app.command()
@with_connection_flags
def show(name: _Name, server: _Server = DEFAULT, as_json: _AsJson = False) -> None:
    """Show job details.

    Examples
    --------
      clipstyler jobs show 0dfd3ad8-61fd-4f9c-bd42-ca2aa9d54bf9
    """
    with _connected(server) as client:
        _show(client.jobs.get(name), as_json)


@app.command()
@with_connection_flags
def watch(
    name: _Name,
    server: _Server = DEFAULT,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the result.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, warnings only.")] = False,
) -> None:
    """Watch a job to its end. Ctrl-C ends watching, not the job.

    Examples
    --------
      clipstyler jobs watch 0dfd3ad8-61fd-4f9c-bd42-ca2aa9d54bf9 -o fire.png
    """
    with _connected(server) as client:
        if out:
            check_outputs([Output("out", out, IMAGE_SUFFIXES)])
            _check_format(out, client.jobs.get(name))
        try:
            result = followed(client, name, Display(Terminal(stderr=True), quiet))
        except KeyboardInterrupt:
            raise JobGoesOnError(name, server.flags) from None
        if out:
            delivery = Delivery()
            say(str(delivery.write(Output("out", out), result.image)))
            delivery.finish()


@app.command()
@with_connection_flags
def cancel(name: _Name, server: _Server = DEFAULT, as_json: _AsJson = False) -> None:
    """Cancel a job within one step; a finished one stays as it is.

    Examples
    --------
      clipstyler jobs cancel 0dfd3ad8-61fd-4f9c-bd42-ca2aa9d54bf9
    """
    with _connected(server) as client:
        _show(client.jobs.cancel(name), as_json)


@app.command()
@with_connection_flags
def download(
    name: _Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.", show_default=False)],
    server: _Server = DEFAULT,
    kind: Annotated[str, typer.Option(help="Which image: result, preview or content (the photo).")] = "result",
) -> None:
    """Download an image of a job as it is stored.

    Examples
    --------
      clipstyler jobs download 0dfd3ad8-61fd-4f9c-bd42-ca2aa9d54bf9 -o fire.png

      clipstyler jobs download 0dfd3ad8-61fd-4f9c-bd42-ca2aa9d54bf9 --kind preview -o so-far.jpg
    """
    with _connected(server) as client:
        output, delivery = Output("out", out), Delivery()
        check_outputs([output])
        image = client.jobs.download(name, kind)
        written = delivery.write(output, image.data)
        say(f"{written}: {image.format}, {image.width} x {image.height} px")
        delivery.finish()


@app.command()
@with_connection_flags
def delete(name: _Name, server: _Server = DEFAULT) -> None:
    """Delete a finished job and its images.

    Examples
    --------
      clipstyler jobs delete 0dfd3ad8-61fd-4f9c-bd42-ca2aa9d54bf9
    """
    with _connected(server) as client:
        client.jobs.delete(name)
        say(f"deleted {name}")


@contextmanager
def _connected(server: Target) -> Iterator[Client]:
    with clear_errors(name="NAME"), server.connect() as client:
        yield client


def _check_format(out: Path, job: Job) -> None:
    asked = job.spec.result_format
    if IMAGE_SUFFIXES[out.suffix.lower()] != asked:
        suffix = next(suffix for suffix, name in IMAGE_SUFFIXES.items() if name == asked)
        raise UsageError(f"--out: the result of this job is {asked}: name a file that ends in {suffix}")


def _show(job: Job, as_json: bool) -> None:
    values = _plain(job)
    if as_json:
        print_json(values)
        return
    shown = table("", "", show_header=False, box=None)
    for name, value in values.items():
        if value not in (None, ""):
            shown.add_row(name.replace("_", " "), _readable(value))
    Terminal().print(shown)


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name.replace('_', ' ')}: {_readable(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(job: Job) -> dict[str, Any]:
    """Return the details of a job as plain values for JSON; times in UTC."""
    values = asdict(replace(job, error=None))  # an exception cannot be copied
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.isoformat()
    error = job.error
    return values | {"error": error and {"code": error.code, "reason": error.reason, "message": error.message}}


def _when(time: datetime | None) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}" if time else ""


def _progress(job: Job) -> str:
    if job.state == "queued":
        return f"behind {job.queue_position}" + (f", about {_when(job.estimated_start)}" if job.estimated_start else "")
    return (
        f"{job.step}/{job.spec.options['steps']}"
        if job.state == "running"
        else (job.error.message if job.error else "")
    )
