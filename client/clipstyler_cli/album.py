"""`clipstyler album`: one look for many photos, fitted once on a sample of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipstyler.output_files import Output
from clipstyler.sampling import evenly
from clipstyler.spec import SpecRequest
from clipstyler.style_controls import StyleControls
from clipstyler_cli.apply import (
    ARGUMENTS,
    Format,
    OutDirectory,
    OutputSize,
    PreserveColor,
    Quiet,
    Strength,
    deliver,
    outputs_of,
)
from clipstyler_cli.artifacts import sheet_of
from clipstyler_cli.errors import UsageError, checked_together, clear_errors
from clipstyler_cli.files import Delivery
from clipstyler_cli.local import read_image_here, resolved_here
from clipstyler_cli.option_flags import STEPS_HELP
from clipstyler_cli.statuses import EXIT_FAILED
from clipstyler_cli.style_files import SUFFIX, slug
from clipstyler_cli.terminal import Terminal, complain, say

if TYPE_CHECKING:
    from clipstyler.harmonizing import Harmony

_LARGEST_SAMPLE = 16
_SHEET_PHOTOS = 100


def command(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Image files.", show_default=False)],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What they should look like.", show_default=False)],
    out: OutDirectory,
    sample: Annotated[
        int, typer.Option(min=1, max=_LARGEST_SAMPLE, help="Photos that the style is fitted to, evenly chosen.")
    ] = 4,
    size: Annotated[int | None, typer.Option(help="Longest side at which it is fitted. Default: 256.")] = None,
    steps: Annotated[int | None, typer.Option(help=STEPS_HELP)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers. Default: random.")] = None,
    encoder_set: Annotated[str | None, typer.Option(help="Encoder set that guides the fit.")] = None,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = 0.0,
    harmonize: Annotated[
        float,
        typer.Option(min=0, max=1, help="How far the colors of all results move toward common ones."),
    ] = 0.0,
    output_size: OutputSize = 0,
    result_format: Format = "png",
    score: Annotated[
        bool,
        typer.Option("--score", help="Also fit every photo separately, and print how much more these differ; slow."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Stylize PHOTOS in one look: fit a style of TEXT on a sample, apply it to all.

    The style and a contact sheet of at most 100 photos are written beside the results.

    Examples
    --------
      clipstyler album holiday/*.jpg "watercolor painting" -o album

      clipstyler album a.jpg b.jpg c.jpg fire -o album --sample 1 --strength 0.8 --score

      clipstyler album holiday/*.jpg mosaic -o album --sample 16 --harmonize 0.5
    """
    with clear_errors(**ARGUMENTS, style_text="TEXT"):
        style_file, sheet = Output("out", out / f"{slug(text)}{SUFFIX}"), Output("out", out / "album-sheet.png")
        options = {"size": size, "steps": steps, "seed": seed, "encoder_set": encoder_set}
        asked = {name: value for name, value in options.items() if value is not None}
        controls: dict[str, Any] = {"strength": strength, "preserve_color": preserve_color, "output_size": output_size}
        sampled = evenly(photos, sample)
        outputs, *_ = checked_together(
            partial(outputs_of, photos, out, result_format, style_file, sheet),
            partial(StyleControls, **controls),
            partial(resolved_here, SpecRequest(text, options=asked)),
            partial(_check_score, score, photos),
            *(partial(read_image_here, path, "PHOTOS") for path in sampled if path.is_file()),
        )
        from clipstyler_cli.local_styles import apply_here

        style = _fitted(sampled, text, asked, quiet)
        delivery = Delivery()
        out.mkdir(parents=True, exist_ok=True)
        delivery.write(style_file, style)
        harmony = _harmony(style, photos, controls, harmonize, quiet) if harmonize else None
        results = apply_here(style, photos, controls=controls, result_format=result_format, harmony=harmony)
        places = deliver(results, photos, outputs, delivery, quiet)
        shown = evenly(list(places.values()), _SHEET_PHOTOS)
        delivery.write(sheet, sheet_of(text, ((path.name, path.read_bytes()) for path in shown)))
        if score:
            _print_score(style, list(places), text, asked, controls, harmonize)
        delivery.finish()
        if len(places) < len(photos):
            raise typer.Exit(EXIT_FAILED)


def _check_score(score: bool, photos: list[Path]) -> None:
    if score and len(photos) < 2:
        raise UsageError("--score: compares photos: name at least two")


def _fitted(photos: list[Path], text: str, options: dict[str, Any], quiet: bool) -> bytes:
    from clipstyler_cli.local_styles import fit_here

    begun, warnings = time.monotonic(), list[str]()
    with Terminal(stderr=True, quiet=quiet).status(f"fitting {text!r} to {len(photos)} photos") as status:

        def progress(step: int, steps: int) -> None:
            status.update(f"fitting to {len(photos)} photos: step {step}/{steps}")

        style = fit_here(photos, text, options, progress, warnings.append)
    for warning in warnings:
        complain(f"warning: {warning}")
    if not quiet:
        complain(f"fitted to {len(photos)} of the photos in {time.monotonic() - begun:.1f} s")
    return style


def _harmony(
    style: bytes, photos: list[Path], controls: Mapping[str, Any], share: float, quiet: bool
) -> Harmony | None:
    from clipstyler.harmonizing import Harmony
    from clipstyler_cli.local_styles import common_colors_here

    with Terminal(stderr=True, quiet=quiet).status("finding common colors") as status:

        def progress(completed: int) -> None:
            status.update(f"finding common colors: photo {completed}/{len(photos)}")

        common = common_colors_here(style, photos, controls, progress)
    return Harmony(common, share) if common else None


def _print_score(
    style: bytes,
    photos: list[Path],
    text: str,
    options: dict[str, Any],
    controls: Mapping[str, Any],
    harmonize: float,
) -> None:
    from clipstyler_cli.local_styles import spreads_here

    if len(photos) < 2:
        complain("error: --score: there is nothing to compare: fewer than two of the photos can be used")
        return
    together, separate = spreads_here(style, photos, text, options, controls, harmonize)
    for name, one, other in zip(("embeddings", "style statistics", "colors"), together, separate, strict=True):
        ratio = one / other if other else float("nan")
        say(f"spread of {name}: {one:.4f}, {other:.4f} if fitted separately: {ratio:.2f} times as much")
