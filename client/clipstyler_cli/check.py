"""`clipstyler check`: what to expect of a text before it is used."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clipstyler_cli.errors import UsageError, checked_together, clear_errors
from clipstyler_cli.local import library_errors, read_image_here, texts_here
from clipstyler_cli.local_store import local_store
from clipstyler_cli.terminal import print_json, say


def command(
    text: Annotated[str, typer.Argument(help="The style text.", show_default=False)],
    photo: Annotated[Path | None, typer.Option(help="A photo that it is meant for.", show_default=False)] = None,
    encoder_set: Annotated[str, typer.Option(help="Name of the encoder set.")] = "pocket",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    results: Annotated[
        Path | None,
        typer.Option(
            help="results.json of `clipstyler lab`. Default: what was measured of pocket.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report whether the encoders know TEXT, whether it reads like a thing, and how much seeds will change.

    Examples
    --------
      clipstyler check "stained glass"

      clipstyler check "a red bicycle" --photo cat.jpg --json

      clipstyler check "cubism" --encoder-set vit-b-32 --results out/lab/results.json
    """
    with clear_errors(image="--photo"), library_errors():
        from clipstyler_lab.doctor import Doctor  # heavy, and only used here

        from clipstyler.encoders import registry
        from clipstyler.encoders.torch_encoders import TorchEncoders
        from clipstyler.imaging import decode

        picture, measured, *_ = checked_together(
            lambda: read_image_here(photo, "--photo") if photo else None,
            lambda: _read(results) if results else None,
            lambda: texts_here(text, encoder_set),
            lambda: registry.place(device),
        )
        shown = decode(picture) if picture else None
        encoders = registry.load(encoder_set, device, store=local_store())
        found = Doctor(TorchEncoders(encoders), measured).check(text, shown)
        if as_json:
            nearest = [near._asdict() for near in found.nearest]
            seeds = found.seeds._asdict() if found.seeds else None
            print_json(asdict(found) | {"nearest": nearest, "seeds": seeds, "findings": found.findings})
            return
        for finding in found.findings:
            say(finding)


def _read(path: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(path.read_text())
        results["sections"]["consistency"]["tables"][0]["rows"]
    except OSError as error:
        raise UsageError(f"--results: {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, LookupError) as error:
        problem = "is no results.json of `clipstyler lab` with the consistency experiment"
        raise UsageError(f"--results: {path}: {problem}") from error
    return results
