"""`clipstyler stylize`: one photo, one text, here or through a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from clipstyler_client import PreviewOptions, StylizeOptions
from rich.console import Console

from clipstyler.config import DEFAULT_PRESET, PRESETS, AugmentFill, Preset, TvForm
from clipstyler_cli.faults import clear_errors
from clipstyler_cli.progress import Display
from clipstyler_cli.runs import Keep, Run, describe, stylize

_PREVIEW_SIZE = 256


def _by_preset(position: int) -> str:
    return ", ".join(f"{preset}: {work[position]}" for preset, work in PRESETS.items())


_HELP_HOW = "How it is computed"
_HELP_KEEP = "What is kept"
_HELP_LOSS = "Losses (default: the encoders' calibration)"


def command(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="JPEG, PNG, WebP, TIFF, BMP or GIF.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the result should look like.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The result: .png, .jpg or .webp.")],
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a server. Default: work here.")] = None,
    source_text: Annotated[str | None, typer.Option(help="What the photo is. Default: the encoders'.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds the whole call to a server may take.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="As a job of the server: it goes on without us, also after a restart.")
    ] = False,
    previews: Annotated[Path | None, typer.Option(help="Directory for previews.", rich_help_panel=_HELP_KEEP)] = None,
    preview_every: Annotated[
        int, typer.Option(min=1, help="Steps from preview to preview.", rich_help_panel=_HELP_KEEP)
    ] = 5,
    animation: Annotated[
        Path | None, typer.Option(help="Animation of the run: .gif or .webp.", rich_help_panel=_HELP_KEEP)
    ] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Photo, previews and result side by side: .png.", rich_help_panel=_HELP_KEEP)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what repeats the result as JSON.", rich_help_panel=_HELP_KEEP)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel=_HELP_KEEP)] = False,
    preset: Annotated[
        Preset | None,
        typer.Option(help=f"How much work. Default: {DEFAULT_PRESET}.", rich_help_panel=_HELP_HOW),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help=f"Longest side in pixels. Default: {_by_preset(0)}.", rich_help_panel=_HELP_HOW),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help=f"Optimizer updates. Default: {_by_preset(1)}.", rich_help_panel=_HELP_HOW)
    ] = None,
    patches: Annotated[
        int | None, typer.Option(help=f"Crops per step. Default: {_by_preset(2)}.", rich_help_panel=_HELP_HOW)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Repeats a result. Default: random.", rich_help_panel=_HELP_HOW)
    ] = None,
    encoders: Annotated[
        str | None,
        typer.Option(help="Name of the encoders; see `clipstyler models list`.", rich_help_panel=_HELP_HOW),
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(help="Side of a crop in pixels: smaller, finer texture.", rich_help_panel=_HELP_HOW),
    ] = None,
    enlarge: Annotated[
        bool | None, typer.Option("--enlarge", help="Enlarge a smaller photo.", rich_help_panel=_HELP_HOW)
    ] = None,
    augmentation: Annotated[
        bool | None,
        typer.Option("--augmentation/--no-augmentation", help="Random perspective.", rich_help_panel=_HELP_HOW),
    ] = None,
    augment_fill: Annotated[
        AugmentFill | None, typer.Option(help="Around a warped crop. Default: black.", rich_help_panel=_HELP_HOW)
    ] = None,
    contrast: Annotated[
        float | None, typer.Option(help="Of the final contrast step; 1: none.", rich_help_panel=_HELP_HOW)
    ] = None,
    crop_overhang: Annotated[
        float | None,
        typer.Option(help="Draw crops beyond the border, in sides; sees the border more.", rich_help_panel=_HELP_HOW),
    ] = None,
    input_noise: Annotated[
        float | None,
        typer.Option(
            help="Noise that StyleNet sees on the photo: texture where it is flat.", rich_help_panel=_HELP_HOW
        ),
    ] = None,
    warm_up: Annotated[
        int | None,
        typer.Option(help="Updates that only give the photo back, before the first.", rich_help_panel=_HELP_HOW),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam.", rich_help_panel=_HELP_LOSS)] = None,
    threshold: Annotated[
        float | None, typer.Option(help="At or below it a patch is rejected.", rich_help_panel=_HELP_LOSS)
    ] = None,
    threshold_rejection: Annotated[
        bool | None,
        typer.Option(
            "--threshold-rejection/--no-threshold-rejection",
            help="Reject patches that satisfy the text.",
            rich_help_panel=_HELP_LOSS,
        ),
    ] = None,
    text_share: Annotated[
        float | None,
        typer.Option(help="Distance from the text itself in a patch's loss, 0 to 1.", rich_help_panel=_HELP_LOSS),
    ] = None,
    weight_direction: Annotated[
        float | None, typer.Option(help="Of the whole image's direction.", rich_help_panel=_HELP_LOSS)
    ] = None,
    weight_patch: Annotated[float | None, typer.Option(help="Of PatchCLIP.", rich_help_panel=_HELP_LOSS)] = None,
    weight_content: Annotated[float | None, typer.Option(help="Of the content.", rich_help_panel=_HELP_LOSS)] = None,
    weight_tv: Annotated[float | None, typer.Option(help="Of total variation.", rich_help_panel=_HELP_LOSS)] = None,
    tv_form: Annotated[
        TvForm | None, typer.Option(help="Form of total variation. Default: norm.", rich_help_panel=_HELP_LOSS)
    ] = None,
) -> None:
    """Stylize PHOTO by TEXT.

    Examples
    --------
      clipstyler stylize cat.jpg "a sketch with black pencil" -o cat-sketch.png

      clipstyler stylize cat.jpg fire -o fire.png --animation fire.gif --seed 7

      clipstyler stylize cat.jpg "stained glass" -o out.webp --server localhost:50051 --json

      clipstyler stylize cat.jpg gold -o gold.png --server localhost:50051 --detach
    """
    options = StylizeOptions(
        preset=preset,
        size=size,
        steps=steps,
        patches=patches,
        seed=seed,
        encoders=encoders,
        crop_size=crop_size,
        learning_rate=learning_rate,
        threshold=threshold,
        threshold_rejection=threshold_rejection,
        augmentation=augmentation,
        augment_fill=augment_fill,
        weight_direction=weight_direction,
        weight_patch=weight_patch,
        weight_content=weight_content,
        weight_tv=weight_tv,
        tv_form=tv_form,
        contrast=contrast,
        crop_overhang=crop_overhang,
        text_share=text_share,
        input_noise=input_noise,
        warm_up=warm_up,
        enlarge=enlarge,
    )
    previews_wanted = PreviewOptions(every_steps=preview_every, max_size=_PREVIEW_SIZE)
    run = Run(photo, text, out, source_text, options, previews_wanted, timeout, detach)
    keep = Keep(previews, animation, contact_sheet)
    with clear_errors():
        result = stylize(run, keep, Display(Console(stderr=True), quiet), server)
        if as_json:
            print(json.dumps(describe(result, out), indent=2))
        elif not quiet:
            Console(stderr=True).print(
                f"{out}: {result.width} x {result.height} px, seed {result.seed}", highlight=False
            )
