"""`clipstyler demo`: a real server, a real photo through the real client, and images to look at."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from clipstyler_client import PreviewOptions, StylizeOptions

from clipstyler.output_files import Output, check_outputs
from clipstyler.spec import SpecRequest
from clipstyler_cli.connection import Target
from clipstyler_cli.ending import end_by
from clipstyler_cli.errors import UsageError, checked_together, clear_errors
from clipstyler_cli.files import Delivery
from clipstyler_cli.local import read_image_here, resolved_here
from clipstyler_cli.progress import Display
from clipstyler_cli.runs import Keep, Run, describe, stylize
from clipstyler_cli.server_process import running_server
from clipstyler_cli.terminal import Terminal

_LOG = "server.log"
_PHOTO = "astronaut.jpg"
_RESULT_SIZE = 1024
# Its jobs are its own, and end with it.
_ALONE = {"DATABASE_URL": "", "SHARED_DIR": ""}
_FILES = ("demo.png", "demo-contact-sheet.png", "demo.gif", "demo.json", _LOG)


def command(
    photo: Annotated[Path | None, typer.Option(help="The photo. Default: a portrait of an astronaut.")] = None,
    text: Annotated[str, typer.Option(help="What the result should look like.")] = "fire",
    seed: Annotated[int, typer.Option(help="Repeats a result; a different seed gives a different look.")] = 3,
    out_dir: Annotated[Path, typer.Option(help="Output directory.")] = Path("out"),
) -> None:
    """Start a server on free ports and stylize a photo through it; the result has 1024 px.

    Writes demo.png, demo-contact-sheet.png, demo.gif, demo.json and server.log. Needs no download and no GPU.

    Examples
    --------
      clipstyler demo

      clipstyler demo --photo cat.jpg --text "stained glass" --seed 5 --out-dir demo
    """
    console = Terminal(stderr=True)
    with clear_errors():
        photo = photo or example_photo()
        files = [Output("out_dir", out_dir / name) for name in _FILES]
        checked_together(
            partial(read_image_here, photo, "--photo"),
            partial(check_outputs, files, directories=[Output("out_dir", out_dir)], inputs=[photo]),
            partial(resolved_here, SpecRequest(text, options=_options(seed))),
        )
        out_dir.mkdir(parents=True, exist_ok=True)
        log = out_dir / _LOG
        end_by(signal.default_int_handler)  # as Ctrl-C
        with TemporaryDirectory() as data_dir:
            settings = {"DATA_DIR": data_dir, **_ALONE}
            with running_server(log, settings, console) as server:
                _stylize(photo, text, seed, out_dir, server.target, console)


def example_photo() -> Path:
    """Return the photo of the demo: installed beside this module, or in the checkout.

    Raises
    ------
    UsageError
        It is not there.
    """
    here = Path(__file__).resolve()
    found = [path for path in (here.with_name(_PHOTO), here.parents[2] / "examples" / _PHOTO) if path.is_file()]
    if not found:
        raise UsageError(f"--photo: the example {_PHOTO} is not installed; name a photo")
    return found[0]


def _options(seed: int) -> StylizeOptions:
    return StylizeOptions(seed=seed, output_size=_RESULT_SIZE, enlarge=True)


def _stylize(photo: Path, text: str, seed: int, out_dir: Path, target: str, console: Terminal) -> None:
    previews = PreviewOptions(every_steps=3, max_size=256)
    image, sheet, animation, description, _ = (out_dir / name for name in _FILES)
    run = Run(photo, text, image, options=_options(seed), previews=previews)
    keep, delivery = Keep(animation=animation, contact_sheet=sheet), Delivery()
    display = Display(console)
    console.print(f"{photo.name} as {text!r} through {target}")
    begun = time.monotonic()
    result, written = stylize(run, keep, display, delivery, Target(target))
    took = time.monotonic() - begun
    delivery.write(Output("out_dir", description), json.dumps(describe(result, written), indent=2).encode())
    console.print(
        f"first preview after {display.first_preview_s or took:.1f} s, everything after {took:.1f} s, "
        f"{result.options['steps']} steps in {result.timings['optimize']:.1f} s; seed {result.seed}"
    )
    for path in delivery.written:
        console.print(f"  {path}")
    delivery.finish()
