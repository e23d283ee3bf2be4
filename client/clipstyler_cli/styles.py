"""`clipstyler styles`: the styles that are bundled, and those of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from clipstyler_client import Client, Style, StylizeOptions

from clipstyler.options import ConfigError, Violation
from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.command_group import App
from clipstyler_cli.connection import DEFAULT, Target, with_connection_flags
from clipstyler_cli.errors import JobGoesOnError, UsageError, WorkFailedError, checked_together, clear_errors
from clipstyler_cli.files import Delivery, read_photo
from clipstyler_cli.local import library_errors
from clipstyler_cli.option_flags import with_option_flags
from clipstyler_cli.progress import Display
from clipstyler_cli.runs import followed
from clipstyler_cli.style_files import SHOWN_DIGITS, SUFFIX, name_on_server, read_style, slug
from clipstyler_cli.terminal import Terminal, print_json, say, table

if TYPE_CHECKING:
    from clipstyler.style import Style as StyleHere

app = App(no_args_is_help=True, help="List, show, keep, download and upload styles.")

_Server = Annotated[Target, typer.Option(help="HOST:PORT of the server.")]
_AnyServer = Annotated[Target | None, typer.Option(help="HOST:PORT of a server. Default: the bundled styles.")]
_Name = Annotated[str, typer.Argument(metavar="STYLE", help="Name of the style.", show_default=False)]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def group() -> None:
    """List, show, keep, download and upload styles; `clipstyler apply` uses them."""


@app.command("list")
@with_connection_flags
def list_(server: _AnyServer = None, as_json: _AsJson = False) -> None:
    """List the bundled styles, or all styles of a server.

    Examples
    --------
      clipstyler styles list

      clipstyler styles list --server localhost:50051 --json
    """
    with clear_errors():
        found = _bundled() if server is None else _of_server(server)
        if as_json:
            print_json(found)
            return
        shown = table("name", "text", "encoders", "steps", "style", first_width=20, box=None)
        for style in found:
            digest = style["style"].rpartition("/")[2][:SHOWN_DIGITS]
            shown.add_row(style["name"], style["text"], style["encoder_set"], str(style["steps"]), digest)
        Terminal().print(shown)


@app.command()
@with_connection_flags
def show(
    style: _Name,
    server: _AnyServer = None,
    thumbnail: Annotated[Path | None, typer.Option(help="Write its thumbnail to this .png.")] = None,
    as_json: _AsJson = False,
) -> None:
    """Show the details of a style: bundled, in a file, or of a server.

    Examples
    --------
      clipstyler styles show stained-glass --thumbnail stained-glass.png

      clipstyler styles show fire.style --json
    """
    with clear_errors(name=f"STYLE: {style}"):
        output, delivery = Output("thumbnail", thumbnail or Path(), {".png"}), Delivery()
        if thumbnail:
            check_outputs([output])
        values, png = _details_here(style) if server is None else _details(server, style)
        if thumbnail:
            delivery.write(output, png)
        if as_json:
            print_json(values)
        else:
            shown = table("", "", show_header=False, box=None)
            for name, value in values.items():
                shown.add_row(name.replace("_", " "), _readable(value))
            Terminal().print(shown)
        delivery.finish()


@app.command()
@with_connection_flags
@with_option_flags
def create(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB | PHOTOS...]", help="A finished job that was created with --keep-style; or more photos."
        ),
    ] = None,
    server: _Server = DEFAULT,
    photos: Annotated[
        list[Path] | None, typer.Option(help="Photos that the style is fitted to, at most 16. Default: the server's.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Fit a style to this text.")] = None,
    source_text: Annotated[str | None, typer.Option(help="What the photos show. Default: the encoders'.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that the fit may wait and take.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, warnings only.")] = False,
    **options: Any,
) -> None:
    """Make a style of a finished job, or fit one to a text on photos.

    A fit is a job in the server's queue: it keeps running after Ctrl-C.

    Examples
    --------
      clipstyler styles create 0dfd3ad8-61fd-4f9c-bd42-ca2aa9d54bf9

      clipstyler styles create --text fire --photos a.jpg b.jpg c.jpg

      clipstyler styles create --text "stained glass" --steps 100 --server localhost:50051
    """
    with _connected(server) as client:
        files = [*(photos or []), *map(Path, sources or [])]
        if text is None and photos:
            raise UsageError("--text: say what the photos should look like")
        asked = cast("StylizeOptions", {name: value for name, value in options.items() if value is not None})
        if text is None:
            _check_not_fitted(asked, source_text, timeout)
            if len(sources or []) != 1:
                raise UsageError("JOB: name one finished job, or fit a style with --text")
            say(client.styles.create((sources or [""])[0]).name)
            return
        read = checked_together(*(partial(read_photo, path, "--photos") for path in files))
        job = client.styles.fit(read, text, source_text=source_text, timeout_s=timeout, **asked)
        try:
            say(followed(client, job.name, Display(Terminal(stderr=True), quiet)).style)
        except KeyboardInterrupt:
            raise JobGoesOnError(job.name, server.flags) from None


@app.command()
@with_connection_flags
def download(
    style: _Name,
    out: Annotated[Path, typer.Option("--out", "-o", help=f"File to write: {SUFFIX}.", show_default=False)],
    server: _Server = DEFAULT,
) -> None:
    """Download the file of a style.

    Examples
    --------
      clipstyler styles download 3f2a81c09d5e -o fire.style
    """
    with _connected(server, name=f"STYLE: {style}") as client:
        output, delivery = Output("out", out, {SUFFIX}), Delivery()
        check_outputs([output])
        say(str(delivery.write(output, client.styles.download(name_on_server(client, style)))))
        delivery.finish()


@app.command()
def export(
    style: _Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .onnx.", show_default=False)],
    as_json: _AsJson = False,
) -> None:
    """Write a style as an ONNX file, and compare it with PyTorch.

    The style is bundled or in a file. The graph draws photos of any size and needs nothing of this program.

    Examples
    --------
      clipstyler styles export stained-glass -o stained-glass.onnx

      clipstyler styles export fire.style -o fire.onnx --json
    """
    with clear_errors(), library_errors():
        output, delivery = Output("out", out, {".onnx"}), Delivery()
        check_outputs([output])
        data = read_style(style)
        from clipstyler.style import digest_of  # heavy, and only used here
        from clipstyler.style_export import TOLERANCE, export_style, largest_difference

        loaded = _loaded(style, data)
        model = export_style(loaded, digest_of(data))
        difference = largest_difference(loaded, model)
        if not difference <= TOLERANCE:
            problem = f"the export differs from PyTorch by {difference:.2g}, at most {TOLERANCE:g} is allowed"
            raise WorkFailedError(problem)
        path = delivery.write(output, model)
        if as_json:
            found = {"file": str(path), "style": f"styles/{digest_of(data)}", "size_bytes": len(model)}
            print_json(found | {"difference": difference, "tolerance": TOLERANCE})
        else:
            say(f"{path} differs from PyTorch by {difference:.2g} at most")
        delivery.finish()


@app.command()
@with_connection_flags
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of a style.", show_default=False)],
    server: _Server = DEFAULT,
) -> None:
    """Store the file of a style on a server.

    Examples
    --------
      clipstyler styles upload fire.style
    """
    with _connected(server, data=f"FILE: {file}") as client:
        say(client.styles.upload(read_photo(file, "FILE")).name)


@app.command()
@with_connection_flags
def delete(style: _Name, server: _Server = DEFAULT) -> None:
    """Delete a style of a server.

    Examples
    --------
      clipstyler styles delete 3f2a81c09d5e
    """
    with _connected(server, name=f"STYLE: {style}") as client:
        name = name_on_server(client, style)
        client.styles.delete(name)
        say(f"deleted {name}")


def _check_not_fitted(options: StylizeOptions, source_text: str | None, timeout_s: float | None) -> None:
    """Refuse what belongs to a fit if a style is made of a finished job."""
    values = {**options, "source_text": source_text, "timeout": timeout_s}
    if names := [name for name, value in values.items() if value is not None]:
        raise ConfigError.of([Violation(name, "belongs to a fit: name what is fitted with --text") for name in names])


@contextmanager
def _connected(server: Target, **arguments: str) -> Iterator[Client]:
    with clear_errors(stylization="JOB", style_text="--text", **arguments), server.connect() as client:
        yield client


def _bundled() -> list[dict[str, Any]]:
    from clipstyler.style_library import bundled_styles

    return [
        {
            "name": style.name,
            "text": style.description.style_text,
            "encoder_set": style.description.encoder_set,
            "steps": style.description.steps,
            "size_bytes": style.size_bytes,
            "style": f"styles/{style.digest}",
            "bundled": True,
        }
        for style in bundled_styles()
    ]


def _of_server(server: Target) -> list[dict[str, Any]]:
    with server.connect() as client:
        return [
            {
                "name": slug(style.style_text),
                "text": style.style_text,
                "encoder_set": style.encoder_set,
                "steps": style.steps,
                "size_bytes": style.size_bytes,
                "style": style.name,
                "bundled": style.bundled,
            }
            for style in client.styles.list()
        ]


def _details(server: Target, name: str) -> tuple[dict[str, Any], bytes]:
    with server.connect() as client:
        style: Style = client.styles.get(name_on_server(client, name))
    values = {key: value for key, value in asdict(style).items() if key != "thumbnail"}
    values["created"] = style.created.isoformat() if style.created else None
    values["models"] = [model._asdict() for model in style.models]
    return values, style.thumbnail


def _details_here(name: str) -> tuple[dict[str, Any], bytes]:
    from clipstyler.style import digest_of

    data = read_style(name)
    description = _loaded(name, data).description
    values = {key: value for key, value in asdict(description).items() if key != "thumbnail"}
    values["models"] = [model._asdict() for model in description.models]
    return {"name": f"styles/{digest_of(data)}"} | values | {"size_bytes": len(data)}, description.thumbnail


def _loaded(name: str, data: bytes) -> StyleHere:
    from clipstyler.style import StyleError, load_style

    try:
        return load_style(data)
    except StyleError as error:
        raise UsageError(f"STYLE: {name}: {error}") from error


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {part}" for name, part in value.items())
    if isinstance(value, list):
        return "\n".join(_readable(part) for part in value)
    return str(value)
