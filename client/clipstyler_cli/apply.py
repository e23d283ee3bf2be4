"""`clipstyler apply`: a style on many photos, here or on a server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from clipstyler_client import StyledPhoto

from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.connection import Target, with_connection_flags
from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.files import Delivery
from clipstyler_cli.statuses import EXIT_FAILED
from clipstyler_cli.style_files import name_on_server, read_style
from clipstyler_cli.terminal import complain

SUFFIX_OF = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

Photos = Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Image files.", show_default=False)]
OutDirectory = Annotated[Path, typer.Option("--out", "-o", help="Directory for the results.", show_default=False)]
Format = Annotated[str, typer.Option("--format", help="Encoding of the results: png, jpeg or webp.")]
Strength = Annotated[float, typer.Option(min=0, max=2, help="0 is the photo, 1 the style, more exaggerates it.")]
PreserveColor = Annotated[float, typer.Option(min=0, max=1, help="How much of the photo's colors is kept.")]
OutputSize = Annotated[int, typer.Option(min=0, help="Longest side of the results in pixels; 0: as the photos.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


@with_connection_flags
def command(
    style: Annotated[str, typer.Argument(metavar="STYLE", help="A .style file, or a name that `styles list` shows.")],
    photos: Photos,
    out: OutDirectory,
    server: Annotated[Target | None, typer.Option(help="HOST:PORT of a server. Default: compute here.")] = None,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = 0.0,
    mix_with: Annotated[str | None, typer.Option(help="A second style to mix in.")] = None,
    mix: Annotated[float, typer.Option(min=0, max=1, help="Share of the second style.")] = 0.5,
    output_size: OutputSize = 0,
    result_format: Format = "png",
    quiet: Quiet = False,
) -> None:
    """Apply a style to PHOTOS, each in a fraction of a second.

    Examples
    --------
      clipstyler apply stained-glass cat.jpg dog.jpg -o styled

      clipstyler apply fire.style photos/*.jpg -o styled --strength 0.7 --format jpeg

      clipstyler apply fire cat.jpg -o styled --mix-with mosaic --mix 0.3 --server localhost:50051
    """
    with clear_errors(), ExitStack() as stack:
        outputs = outputs_of(photos, out, result_format)
        controls = {"strength": strength, "preserve_color": preserve_color, "output_size": output_size}
        if mix_with:
            controls["mix"] = mix
        if server is None:
            results = _here(style, mix_with, photos, controls, result_format)
        else:
            client = stack.enter_context(server.connect())
            results = client.styles.apply(
                name_on_server(client, style),
                photos,
                second_style=name_on_server(client, mix_with) if mix_with else "",
                result_format=result_format,
                **controls,  # type: ignore[arg-type]
            )
        if deliver(results, photos, outputs, quiet):
            raise typer.Exit(EXIT_FAILED)


def outputs_of(photos: list[Path], out: Path, result_format: str, *extra: Output) -> list[Output]:
    """Return where the results of photos go, once that is checked; the directory is created.

    Raises
    ------
    UsageError, ConfigError
        A photo is no file, two have one name, or a result cannot be written.
    """
    if result_format not in SUFFIX_OF:
        raise UsageError(f"--format: {result_format!r} is unknown: use {', '.join(SUFFIX_OF)}")
    if missing := [str(path) for path in photos if not path.is_file()]:
        raise UsageError(f"PHOTOS: no such file: {', '.join(missing[:5])}")
    names = [path.stem + SUFFIX_OF[result_format] for path in photos]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"PHOTOS: several would be written to {', '.join(twice[:5])}: rename them")
    check_outputs([], directories=[Output("out", out)])
    out.mkdir(parents=True, exist_ok=True)
    outputs = [Output("out", out / name) for name in names]
    check_outputs([*outputs, *extra], inputs=photos)
    return outputs


def deliver(results: Iterator[StyledPhoto], photos: list[Path], outputs: list[Output], quiet: bool) -> int:
    """Write results as they come; returns how many photos could not be used."""
    delivery, failed, begun = Delivery(), 0, time.monotonic()
    for done in results:
        path = photos[done.index]
        if done.image is None:
            failed += 1
            complain(f"error: {path}: {done.error.message if done.error else 'there is no result'}")
            continue
        written = delivery.write(outputs[done.index], done.image.data)
        if not quiet:
            complain(f"{written}: {done.image.width} x {done.image.height} px")
    if not quiet:
        complain(f"{len(photos) - failed} of {len(photos)} photos in {time.monotonic() - begun:.1f} s")
    delivery.finish()
    return failed


def _here(
    style: str, mix_with: str | None, photos: list[Path], controls: Mapping[str, Any], result_format: str
) -> Iterator[StyledPhoto]:
    from clipstyler_cli.local_styles import apply_here

    second = read_style(mix_with) if mix_with else None
    return apply_here(read_style(style), photos, second=second, controls=controls, result_format=result_format)
