"""`clipstyler apply`: a style on many photos, here or on a server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from clipstyler_client import StyledPhoto

from clipstyler.options import ConfigError, Violation
from clipstyler.output_files import Output, check_outputs
from clipstyler.style_controls import StyleControls
from clipstyler_cli.connection import Target, with_connection_flags
from clipstyler_cli.errors import UsageError, checked_together, clear_errors
from clipstyler_cli.files import Delivery
from clipstyler_cli.statuses import EXIT_FAILED
from clipstyler_cli.style_files import read_style, stored_on_server
from clipstyler_cli.terminal import complain

SUFFIX_OF = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
ARGUMENTS = {"photos": "PHOTOS", "result_format": "--format"}
"""How the commands that apply a style name fields, for errors."""
_EVEN_MIX = 0.5
_NAMED = 5  # of the files with one problem
StyleT = TypeVar("StyleT")

Photos = Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Image files.", show_default=False)]
OutDirectory = Annotated[Path, typer.Option("--out", "-o", help="Directory for the results.", show_default=False)]
Format = Annotated[str, typer.Option("--format", help="Encoding of the results: png, jpeg or webp.")]
Strength = Annotated[float, typer.Option(min=0, max=2, help="0 is the photo, 1 the style, more exaggerates it.")]
PreserveColor = Annotated[float, typer.Option(min=0, max=1, help="How much of the photo's colors is kept.")]
OutputSize = Annotated[int, typer.Option(min=0, help="Longest side of the results in pixels; 0: as the photos.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, warnings only.")]


@with_connection_flags
def command(
    style: Annotated[str, typer.Argument(metavar="STYLE", help="A .style file, or a name that `styles list` shows.")],
    photos: Photos,
    out: OutDirectory,
    server: Annotated[Target | None, typer.Option(help="HOST:PORT of a server. Default: compute here.")] = None,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = 0.0,
    mix_with: Annotated[str | None, typer.Option(help="A second style to mix in.")] = None,
    mix: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the second style. Default: 0.5.")] = None,
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
    words = {"style": f"STYLE: {style}", "second_style": f"--mix-with: {mix_with}"}
    with clear_errors(**ARGUMENTS, **words), ExitStack() as stack:
        controls: dict[str, Any] = {"strength": strength, "preserve_color": preserve_color, "output_size": output_size}
        if mix_with is not None:
            controls["mix"] = _EVEN_MIX if mix is None else mix
        checks: list[Callable[[], Any]] = [
            partial(outputs_of, photos, out, result_format),
            partial(_check_mix, mix, mix_with),
        ]
        if server is None:
            styles: list[Callable[[], Any]] = [partial(read_style, style), partial(_second, mix_with, read_style)]
            outputs, _, first, second, _ = checked_together(*checks, *styles, partial(StyleControls, **controls))
            results = _here(first, second, photos, controls, result_format)
        else:
            outputs, *_ = checked_together(*checks)
            client = stack.enter_context(server.connect())
            named = partial(stored_on_server, client)
            first, second = checked_together(partial(named, style), partial(_second, mix_with, named))
            results = client.styles.apply(
                first,
                photos,
                second_style=second or "",
                result_format=result_format,
                **controls,
            )
        delivery = Delivery()
        places = deliver(results, photos, outputs, delivery, quiet)
        delivery.finish()
        if len(places) < len(photos):
            raise typer.Exit(EXIT_FAILED)


def outputs_of(photos: list[Path], out: Path, result_format: str, *extra: Output) -> list[Output]:
    """Return where the results of photos go, once that is checked.

    Raises
    ------
    ConfigError
        A photo is no file, two have one name, or a result cannot be written: all of it in one error.
    """
    violations = []
    if result_format not in SUFFIX_OF:
        violations.append(Violation("result_format", f"{result_format!r} is unknown: use {', '.join(SUFFIX_OF)}"))
    if missing := [str(path) for path in photos if not path.is_file()]:
        violations.append(Violation("photos", f"no such file: {', '.join(missing[:_NAMED])}"))
    names = [path.stem + SUFFIX_OF.get(result_format, "") for path in photos]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        problem = f"several would be written to {', '.join(twice[:_NAMED])}: rename them"
        violations.append(Violation("photos", problem))
    outputs = [Output("out", out / name) for name in names]
    try:
        check_outputs([], directories=[Output("out", out)])
        if not violations:
            check_outputs([*outputs, *extra], directories=[Output("out", out)], inputs=photos)
    except ConfigError as error:
        violations += error.violations
    if violations:
        raise ConfigError.of(violations)
    return outputs


def deliver(
    results: Iterator[StyledPhoto], photos: list[Path], outputs: list[Output], delivery: Delivery, quiet: bool
) -> dict[Path, Path]:
    """Write results as they come; returns where that of each photo is, without those that could not be used."""
    places, begun = dict[Path, Path](), time.monotonic()
    for done in results:
        path = photos[done.index]
        if done.image is None:
            complain(f"error: {path}: {done.error.message if done.error else 'there is no result'}")
            continue
        outputs[done.index].path.parent.mkdir(parents=True, exist_ok=True)
        places[path] = delivery.write(outputs[done.index], done.image.data)
        if not quiet:
            complain(f"{places[path]}: {done.image.width} x {done.image.height} px")
    if not quiet:
        complain(f"{len(places)} of {len(photos)} photos in {time.monotonic() - begun:.1f} s")
    return places


def _check_mix(mix: float | None, mix_with: str | None) -> None:
    if mix is not None and mix_with is None:
        raise UsageError("--mix: needs a second style: name one with --mix-with")


def _second(mix_with: str | None, found: Callable[[str, str], StyleT]) -> StyleT | None:
    """Return the second style as it is found, None if there is none."""
    return found(mix_with, "--mix-with") if mix_with is not None else None


def _here(
    style: bytes, second: bytes | None, photos: list[Path], controls: Mapping[str, Any], result_format: str
) -> Iterator[StyledPhoto]:
    from clipstyler_cli.local_styles import apply_here

    return apply_here(style, photos, second=second, controls=controls, result_format=result_format)
