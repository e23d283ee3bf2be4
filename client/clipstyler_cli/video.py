"""`clipstyler video`: one look for a video, fitted on its key frames, or a style that is there already."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from clipstyler.options import ConfigError, Violation
from clipstyler.output_files import Output, check_outputs
from clipstyler.spec import SpecRequest
from clipstyler.style_controls import StyleControls
from clipstyler.video.containers import ENCODINGS
from clipstyler_cli.apply import PreserveColor, Quiet, Strength
from clipstyler_cli.errors import UsageError, checked_together, clear_errors
from clipstyler_cli.files import Delivery
from clipstyler_cli.local import resolved_here
from clipstyler_cli.option_flags import STEPS_HELP
from clipstyler_cli.style_files import read_style
from clipstyler_cli.terminal import complain, say
from clipstyler_cli.video_progress import VideoProgress

_SUFFIXES = tuple(ENCODINGS)
_FITTING = "Fitting"


def command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The video.", show_default=False)],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help=f"The result: {', '.join(_SUFFIXES)}.", show_default=False)
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What it should look like.", show_default=False)
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Instead of TEXT: a .style file, or a name that `styles list` shows.")
    ] = None,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = 0.0,
    steadiness: Annotated[
        float,
        typer.Option(min=0, max=0.95, help="Share of the frame before that is carried along the motion; 0: none."),
    ] = 0.9,
    output_size: Annotated[int, typer.Option(min=0, help="Longest side of the result in pixels; 0: as the video.")] = 0,
    key_frames: Annotated[
        int, typer.Option(min=1, max=8, help="Frames that stand for a shot.", rich_help_panel=_FITTING)
    ] = 3,
    size: Annotated[
        int | None, typer.Option(help="Longest side at which it is fitted. Default: 256.", rich_help_panel=_FITTING)
    ] = None,
    steps: Annotated[int | None, typer.Option(help=STEPS_HELP, rich_help_panel=_FITTING)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of all random numbers. Default: random.", rich_help_panel=_FITTING)
    ] = None,
    encoder_set: Annotated[
        str | None, typer.Option(help="Encoder set that guides the fit.", rich_help_panel=_FITTING)
    ] = None,
    temporal: Annotated[
        float,
        typer.Option(
            min=0, help="Weight of the loss on what changes from frame to frame; 0: none.", rich_help_panel=_FITTING
        ),
    ] = 0.0,
    report: Annotated[Path | None, typer.Option(help="Write how steady the result is to this .json.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Discard an unfinished run instead of going on.")] = False,
    quiet: Quiet = False,
) -> None:
    """Stylize a video on this machine: fit a style of TEXT on its key frames, apply it to every frame.

    Sound is copied. Ctrl-C leaves an unfinished run beside OUT; the same command, without --restart, goes on with it.

    Examples
    --------
      clipstyler video holiday.mp4 painted.mp4 "watercolor painting"

      clipstyler video dance.mov fire.mp4 --style fire --output-size 640 --strength 0.8

      clipstyler video clip.mkv glass.webm "stained glass" --seed 7 --temporal 20000 --report glass.json
    """
    with clear_errors(style_text="TEXT", out="OUT", source="IN", style=f"--style: {style}"):
        options: dict[str, Any] = {"size": size, "steps": steps, "seed": seed, "encoder_set": encoder_set}
        asked = {name: value for name, value in options.items() if value is not None}
        controls: dict[str, Any] = {"strength": strength, "preserve_color": preserve_color, "output_size": output_size}
        outputs = [Output("out", out, _SUFFIXES)]
        if report:
            outputs.append(Output("report", report, {".json"}))
        from clipstyler_cli.local_video import VideoRequest, check_source, stylize_video_here

        style_file, *_ = checked_together(
            lambda: read_style(style, "--style") if style is not None else None,
            partial(_check_look, text, style, [*asked, *(["temporal"] if temporal else [])]),
            partial(check_outputs, outputs, inputs=[source]),
            partial(StyleControls, **controls),
            lambda: resolved_here(SpecRequest(text, options=asked)) if text is not None and style is None else None,
            partial(check_source, source),
        )
        request = VideoRequest(
            source=source,
            out=out,
            text=text,
            style=style_file,
            options=asked,
            controls=controls,
            key_frames=key_frames,
            temporal=temporal,
            steadiness=steadiness,
        )
        with VideoProgress(quiet) as progress:
            found = stylize_video_here(request, progress, restart=restart)
        say(found.summary())
        delivery = Delivery()
        if report:
            delivery.write(outputs[1], (json.dumps(found.as_dict(), indent=2) + "\n").encode())
        if not quiet:
            complain(f"{out}: {found.width} x {found.height} px, {found.frames} frames")
        delivery.finish()


def _check_look(text: str | None, style: str | None, fitting: list[str]) -> None:
    """Refuse a text beside a style, neither of them, and what belongs to a fit beside a style."""
    if (text is None) == (style is None):
        raise UsageError("TEXT: name a text, or a style with --style, and not both")
    if style is not None and fitting:
        problem = "belongs to the fit to a text, and a style is fitted already"
        raise ConfigError.of([Violation(name, problem) for name in fitting])
