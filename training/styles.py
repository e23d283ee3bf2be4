"""Fit the bundled styles: one each, to the same few photos, kept in bytes so that all fit into 8 MiB.

Examples
--------
  python -m training.styles --out clipstyler/styles
  python -m training.styles --out /tmp/styles --only fire mosaic --steps 30
  python -m training.styles --out clipstyler/styles --sheet docs/images/styles.jpg
  python -m training.styles --out clipstyler/styles --controls docs/images/style-controls.jpg

With `--sheet` or `--controls` nothing is fitted: the styles in the folder are drawn on photos that none of them saw, or
two of them with each control, to be looked at.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

import clipstyler
from clipstyler.imaging import Picture, resized
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
from clipstyler.style import SUFFIX, Precision, Style, dump_style, load_style
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_fitting import fit_style
from training.outputs import PICTURES, check_folder, check_output
from training.pocket.photos import fitted_photos, held_out_photos

TEXTS = (
    "a sketch with black pencil",
    "blueprint",
    "fire",
    "gold",
    "ink wash painting",
    "mosaic",
    "neon light",
    "pop art",
    "stained glass",
    "starry night by Vincent van Gogh",
    "stone wall",
    "watercolor painting",
)
"""What is fitted."""
_SEED = 7
_TILE = (240, 180)
_CAPTION = 22
_CONTROLS = {"strength": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5), "preserve_color": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}


def file_of(folder: Path, text: str) -> Path:
    """Return the file of a style: `clipstyler styles list` derives its name in the same way."""
    return folder / ("-".join(text.lower().split()) + SUFFIX)


def photos() -> list[Picture]:
    """The photos that every style is fitted to."""
    return [Picture(np.asarray(photo * 255, np.uint8)) for photo in fitted_photos()]


def fitted(text: str, size: int, steps: int) -> Style:
    """Fit one style."""
    encoders = clipstyler.load_encoders("pocket")
    request = SpecRequest(text, options={"size": size, "steps": steps, "seed": _SEED})
    spec = resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())
    fitting = fit_style(photos(), spec, encoders)
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            style: Style = end.value
            return Style(replace(style.description, precision=str(Precision.BYTE)), style.weights)


def drawn(style: Style, photo: Picture, **controls: Any) -> Picture:
    """Apply a style."""
    tiles = apply_style(LoadedStyle.of(style), photo, StyleControls(**controls))
    while True:
        try:
            next(tiles)
        except StopIteration as end:
            picture: Picture = end.value
            return picture


def sheet(strips: Sequence[tuple[str, Sequence[Picture]]], across: int = 1) -> Image.Image:
    """Draw strips of as many pictures each under their captions, so many strips side by side."""
    width, height = _TILE
    length = len(strips[0][1]) * width
    image = Image.new("RGB", (across * length, -(-len(strips) // across) * (height + _CAPTION)), "white")
    draw = ImageDraw.Draw(image)
    for number, (caption, pictures) in enumerate(strips):
        left, top = number % across * length, number // across * (height + _CAPTION)
        draw.text((left + 6, top + 3), caption, fill="#1c1c1e", font=ImageFont.load_default(14))
        for column, picture in enumerate(pictures):
            place = (left + column * width, top + _CAPTION)
            image.paste(Image.fromarray(resized(picture, _TILE).rgb), place)
    return image


def write_sheet(folder: Path, path: Path) -> None:
    """Draw every style of a folder on photos that it did not see."""
    unseen = [Picture(np.asarray(photo * 255, np.uint8)) for photo in held_out_photos()]
    strips = []
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        style = load_style(file.read_bytes())
        strips.append((file.stem, [drawn(style, photo, output_size=360) for photo in unseen]))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet(strips, across=2).save(path, quality=85)


def write_controls(folder: Path, path: Path) -> None:
    """Draw two styles with several strengths, and with several shares of the photo's colors."""
    photo = Picture(np.asarray(held_out_photos()[0] * 255, np.uint8))
    rows = []
    for text in ("stained glass", "a sketch with black pencil"):
        style = load_style(file_of(folder, text).read_bytes())
        for control, values in _CONTROLS.items():
            pictures = [drawn(style, photo, output_size=360, **{control: value}) for value in values]
            rows.append((f"{text}, {control}: {', '.join(map(str, values))}", pictures))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows).save(path, quality=85)


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m training.styles", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the styles")
    parser.add_argument("--only", nargs="+", choices=TEXTS, default=TEXTS, help="which (default: all)")
    parser.add_argument("--size", type=int, default=256, help="longest side of the photos (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=120, help="of each fit (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, help="fit nothing, and draw the styles of the folder here")
    parser.add_argument("--controls", type=Path, help="fit nothing, and draw what the controls do here")
    options = parser.parse_args()
    check_folder(parser, options.out)
    check_output(parser, options.sheet, "--sheet", PICTURES)
    check_output(parser, options.controls, "--controls", PICTURES)
    torch.set_num_threads(options.threads)
    if options.sheet:
        write_sheet(options.out, options.sheet)
    if options.controls:
        write_controls(options.out, options.controls)
    if options.sheet or options.controls:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for text in options.only:
        begun = time.monotonic()
        data = dump_style(fitted(text, options.size, options.steps))
        file_of(options.out, text).write_bytes(data)
        Console().print(f"{text}: {len(data)} bytes in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
