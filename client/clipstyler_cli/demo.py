"""`clipstyler demo`: a real server, a real photo through the real client, and images to look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from clipstyler_client import Client, PreviewOptions, ServerUnavailableError, StylizeError, StylizeOptions

from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.files import Delivery, read_photo
from clipstyler_cli.progress import Display
from clipstyler_cli.runs import Keep, Run, describe, stylize
from clipstyler_cli.terminal import Terminal

_START_S = 180.0
_STOP_S = 30.0
_POLL_S = 0.1
_LOG_LINES = 15
_LOG = "server.log"
_PHOTO = "astronaut.jpg"
_FILES = ("demo.png", "demo-contact-sheet.png", "demo.gif", "demo.json", _LOG)


def command(
    photo: Annotated[Path | None, typer.Option(help="The photo. Default: a portrait of an astronaut.")] = None,
    text: Annotated[str, typer.Option(help="What the result should look like.")] = "fire",
    seed: Annotated[int, typer.Option(help="Repeats a result; a different seed gives a different look.")] = 3,
    out_dir: Annotated[Path, typer.Option(help="Output directory.")] = Path("out"),
) -> None:
    """Start a server on free ports and stylize a photo through it.

    Writes demo.png, demo-contact-sheet.png, demo.gif, demo.json and server.log. Needs no download and no GPU.

    Examples
    --------
      clipstyler demo

      clipstyler demo --photo cat.jpg --text "stained glass" --seed 5 --out-dir demo
    """
    console = Terminal(stderr=True)
    with clear_errors():
        photo = photo or _example()
        read_photo(photo, "--photo")
        files = [Output("out_dir", out_dir / name) for name in _FILES]
        check_outputs(files, directories=[Output("out_dir", out_dir)], inputs=[photo])
        out_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as data_dir, _server(out_dir / _LOG, data_dir, console) as target:
            _stylize(photo, text, seed, out_dir, target, console)


def _example() -> Path:
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


def _stylize(photo: Path, text: str, seed: int, out_dir: Path, target: str, console: Terminal) -> None:
    previews = PreviewOptions(every_steps=3, max_size=256)
    image, sheet, animation, description, _ = (out_dir / name for name in _FILES)
    run = Run(photo, text, image, options=StylizeOptions(seed=seed), previews=previews)
    keep, delivery = Keep(animation=animation, contact_sheet=sheet), Delivery()
    display = Display(console)
    console.print(f"{photo.name} as {text!r} through {target}")
    begun = time.monotonic()
    result, written = stylize(run, keep, display, delivery, target)
    took = time.monotonic() - begun
    delivery.write(Output("out_dir", description), json.dumps(describe(result, written), indent=2).encode())
    console.print(
        f"first preview after {display.first_preview_s or took:.1f} s, everything after {took:.1f} s, "
        f"{result.options['steps']} steps in {result.timings['optimize']:.1f} s; seed {result.seed}"
    )
    for path in (written, sheet, animation, description):
        console.print(f"  {path}")
    delivery.finish()


@contextmanager
def _server(log: Path, data_dir: str, console: Terminal) -> Iterator[str]:
    """Run a server on free ports; yields its address once it takes jobs."""
    chosen = {"PORT": "0", "HTTP_PORT": "0", "LOG_FORMAT": "json", "DATA_DIR": data_dir}
    environment = os.environ | {f"CLIPSTYLER_{name}": value for name, value in chosen.items()}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "clipstyler_server"], stderr=output, env=environment)
    try:
        with console.status("starting the server"):
            target = _address(process, log)
            with Client(target) as client:
                client.wait_until_ready(_START_S)
        yield target
    except StylizeError:
        console.print(f"last lines of the server log, {log}:\n" + _tail(log))
        raise
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines():
            if '"server_ready"' in line:
                return str(json.loads(line)["grpc"])
        if process.poll() is not None:
            raise ServerUnavailableError("UNAVAILABLE", f"the server exited with code {process.returncode}")
        time.sleep(_POLL_S)
    raise ServerUnavailableError("UNAVAILABLE", f"the server reported no address within {_START_S:g} s")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
