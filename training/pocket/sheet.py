"""Look before you calibrate: a sheet of stylized photos, a row for each setting, a column for each text.

Examples
--------
  python -m training sheet --out sheet.png
  python -m training sheet --weights pocket.safetensors --texts fire mosaic --photo me.jpg
  python -m training sheet --vary threshold 0.02 0.05 0.1 --set crop_fraction 0.25

The sheet's left column is the photo. Losses and seconds go to the terminal.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

import clipstyler
from clipstyler.config import Calibration
from clipstyler.encoders.base import EncoderSet
from clipstyler.imaging import Picture
from clipstyler.options import ConfigError
from clipstyler.output_files import Output, check_outputs
from clipstyler.pocket.calibration import CALIBRATION
from clipstyler.pocket.model import WEIGHTS, load

TEXTS = (
    "fire",
    "a sketch with black pencil",
    "stained glass",
    "starry night by Vincent van Gogh",
    "mosaic",
    "stone wall",
    "gold",
    "neon light",
    "watercolor painting",
)
_TILE = 224


def encoders(weights: Path, calibration: Calibration) -> EncoderSet:
    """Encoders of a checkpoint under a calibration on trial."""
    device = torch.device("cpu")
    clip, content = load(device, weights)
    return EncoderSet("pocket", "on trial", calibration, clip, content, device)


def settings(options: argparse.Namespace) -> Iterator[tuple[str, Calibration]]:
    """Every calibration to try, with its label."""
    base = CALIBRATION
    for name, value in options.set:
        base = _changed(base, name, value)
    if not options.vary:
        yield "calibration", base
        return
    name, *values = options.vary
    if not values:
        raise ConfigError("vary", f"{name} has no values to try")
    for value in values:
        yield f"{name} {value}", _changed(base, name, value)


def _changed(calibration: Calibration, name: str, value: str) -> Calibration:
    """Change a field, whose type is that of its present value."""
    if name not in vars(calibration):
        raise ConfigError(name, f"is no field of the calibration: use {', '.join(vars(calibration))}")
    changed: dict[str, Any] = {name: type(getattr(calibration, name))(value)}
    return replace(calibration, **changed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    console = Console()
    rows = []
    for path in options.photo or [None]:
        photo = _photo(path)
        for label, calibration in options.settings:
            trial = encoders(options.weights, calibration)
            size = options.size
            asked: Any = {"size": size, "output_size": size, "steps": options.steps, "seed": options.seed}
            row = [_tile(photo)]
            for text in options.texts:
                begun = time.monotonic()
                result = clipstyler.stylize(Picture(photo), text, encoders=trial, **asked).result()
                row.append(_tile(result.image.rgb))
                losses = ", ".join(f"{name} {value:.3g}" for name, value in vars(result.losses).items())
                console.print(f"{label} | {text}: {time.monotonic() - begun:.0f} s; {losses}")
            rows.append(np.concatenate(row, axis=1))
            Image.fromarray(np.concatenate(rows)).save(options.out)


def _photo(path: Path | None) -> NDArray[np.uint8]:
    if path is None:
        from training.pocket.photos import held_out_photos  # one's own photo needs no scikit-image

        return np.asarray(held_out_photos()[0] * 255, np.uint8)
    return np.asarray(Image.open(path).convert("RGB"), np.uint8)


def _tile(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.LANCZOS), np.uint8)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m training sheet",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--weights", type=Path, default=WEIGHTS, help="checkpoint (default: the bundled one)")
    add("--texts", nargs="+", default=TEXTS, help="style texts (default: nine that must be readable)")
    add("--photo", type=Path, action="append", help="photo, may be repeated (default: scikit-image's coffee)")
    add("--vary", nargs="+", metavar=("FIELD", "VALUE"), help="a field of the calibration and its values, one a row")
    add("--set", nargs=2, action="append", default=[], metavar=("FIELD", "VALUE"), help="a field for all rows")
    add("--size", type=int, help="longest side (default: the draft preset's)")
    add("--steps", type=int, help="updates (default: the draft preset's)")
    add("--seed", type=int, default=1, help="of every run (default: 1)")
    add("--threads", type=int, default=1, help="of torch (default: 1)")
    add("--out", type=Path, default=Path("sheet.png"), help="the sheet (default: sheet.png)")
    options = parser.parse_args(arguments)
    try:
        check_outputs([Output("out", options.out, (".png", ".jpg"))], inputs=options.photo or ())
        options.settings = list(settings(options))
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
