"""`clipstyler stylize`: one photo, one text, here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from clipstyler_client import PreviewOptions, Region, Result, StylizeOptions

from clipstyler_cli.connection import Target, with_connection_flags
from clipstyler_cli.errors import clear_errors
from clipstyler_cli.files import IMAGE_SUFFIXES, Delivery
from clipstyler_cli.local import ACCELERATIONS
from clipstyler_cli.option_flags import with_option_flags
from clipstyler_cli.progress import Display
from clipstyler_cli.runs import Keep, Run, describe, stylize
from clipstyler_cli.terminal import Terminal, complain, print_json

_PREVIEW_SIZE = 256
_ARTIFACTS = "Output"
_REGION = "Region"


@with_connection_flags
@with_option_flags
def command(
    photo: Annotated[
        Path, typer.Argument(metavar="PHOTO", help="JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or, with pi-heif, HEIC.")
    ],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the result should look like.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The result: .png, .jpg or .webp.")],
    server: Annotated[Target | None, typer.Option(help="HOST:PORT of a server. Default: compute here.")] = None,
    device: Annotated[str | None, typer.Option(help="Without a server: cpu, cuda, cuda:1, ... Default: cpu.")] = None,
    accelerations: Annotated[
        str | None,
        typer.Option(
            envvar=ACCELERATIONS,
            help="Without a server, on a CPU: auto (measured), off, or names (docs/performance.md). Default: auto.",
        ),
    ] = None,
    source_text: Annotated[str | None, typer.Option(help="What the photo shows. Default: the encoders'.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Mask of what stays as it is: white stays, black is stylized; of the photo's shape, at any size.",
            rich_help_panel=_REGION,
        ),
    ] = None,
    keep_box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Rectangle that stays, in fractions of the photo from its upper left corner. Repeatable.",
            rich_help_panel=_REGION,
        ),
    ] = None,
    region_text: Annotated[
        str | None,
        typer.Option(help="What the region should look like, instead of staying as it is.", rich_help_panel=_REGION),
    ] = None,
    feather: Annotated[
        float | None,
        typer.Option(
            help="Width of the transition outside the region, as a fraction of the longest side. Range: 0 to 0.1. "
            "Default: 0.01.",
            rich_help_panel=_REGION,
        ),
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that the whole call to a server may take.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Create a durable job: it keeps running after the client exits.")
    ] = False,
    previews: Annotated[Path | None, typer.Option(help="Directory for previews.", rich_help_panel=_ARTIFACTS)] = None,
    preview_every: Annotated[int, typer.Option(min=1, help="Steps between previews.", rich_help_panel=_ARTIFACTS)] = 5,
    animation: Annotated[
        Path | None, typer.Option(help="Animation of the run: .gif or .webp.", rich_help_panel=_ARTIFACTS)
    ] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Photo, previews and result side by side: .png.", rich_help_panel=_ARTIFACTS)
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option(
            help="With a server: the draft, a picture in a bundled style that is near: .jpg, .png or .webp.",
            rich_help_panel=_ARTIFACTS,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print what is needed to reproduce the result.", rich_help_panel=_ARTIFACTS),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress, warnings only.", rich_help_panel=_ARTIFACTS)
    ] = False,
    **options: Any,
) -> None:
    """Stylize PHOTO by TEXT.

    Examples
    --------
      clipstyler stylize cat.jpg "a sketch with black pencil" -o cat-sketch.png

      clipstyler stylize cat.jpg fire -o fire.png --animation fire.gif --seed 7

      clipstyler stylize cat.jpg fire -o fire.png --keep cat-mask.png

      clipstyler stylize cat.jpg "oil painting" -o two.png --keep-box 0.3,0.2,0.4,0.6 --region-text gold

      clipstyler stylize cat.jpg "stained glass" -o out.webp --server localhost:50051 --json

      clipstyler stylize cat.jpg gold -o gold.png --server localhost:50051 --detach
    """
    asked = cast("StylizeOptions", {name: value for name, value in options.items() if value is not None})
    preview_options = PreviewOptions(every_steps=preview_every, max_size=_PREVIEW_SIZE)
    if server:
        preview_options["draft"] = "auto"
    if draft:
        preview_options["format"] = IMAGE_SUFFIXES.get(draft.suffix.lower(), "jpeg")
    files = Keep(previews, animation, contact_sheet, draft)
    with clear_errors():
        region = _region(keep, keep_box or [], region_text, feather)
        run = Run(photo, text, out, source_text, region, asked, preview_options, timeout, detach, device, accelerations)
        delivery = Delivery()
        result, written = stylize(run, files, Display(Terminal(stderr=True), quiet), delivery, server)
        if as_json:
            print_json(describe(result, written))
        elif not quiet:
            complain(f"{written}: {result.width} x {result.height} px, seed {result.seed}{_early(result)}")
        delivery.finish()


def _region(mask: Path | None, boxes: list[str], text: str | None, feather: float | None) -> Region | None:
    """Read the flags of a region; None if there are none."""
    if mask is None and not boxes and text is None and feather is None:
        return None
    return Region(mask=mask, boxes=[_box(written) for written in boxes], text=text, feather=feather)


def _box(written: str) -> tuple[Any, ...]:
    """Read a box; what is no number stays as it was typed, and is refused with everything else that is wrong."""
    return tuple(map(_number, written.split(",")))


def _number(written: str) -> float | str:
    try:
        return float(written)
    except ValueError:
        return written


def _early(result: Result) -> str:
    """Say when and why a run ended before its last step."""
    why = {"target": "the target was reached", "plateau": "the loss stopped falling"}.get(result.stop_reason)
    return f", ended after {result.steps} steps: {why}" if why else ""
