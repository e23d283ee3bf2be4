"""Stylize several photos by several texts and lay them out in one picture, to look at.

Examples
--------
    python -m benchmarks.gallery                                # examples/ by the README's texts, minutes on two cores
    python -m benchmarks.gallery --texts fire "stone wall" --photos cat.jpg --out stone.jpg --steps 30
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clipstyler_cli.labels import label
from PIL import Image, ImageDraw, ImageOps
from rich.progress import track

import clipstyler
from benchmarks.arguments import at_least_one, picture_file
from clipstyler.config import Preset
from clipstyler.encoders.registry import load
from clipstyler.imaging import Picture, decode, fit

ROOT = Path(__file__).parents[1]
PHOTOS = [ROOT / "examples" / name for name in ("astronaut.jpg", "cat.jpg", "coffee.jpg")]
TEXTS = ["fire", "a sketch with black pencil", "stained glass", "starry night by Vincent van Gogh", "gold"]
TILE, GAP, CAPTION = 256, 8, 30


def layout(texts: list[str], rows: list[list[Picture]]) -> Image.Image:
    """Lay rows of pictures out under their texts."""
    height = TILE + GAP
    sheet = Image.new("RGB", ((TILE + GAP) * (len(texts) + 1) + GAP, CAPTION + height * len(rows) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(["photo", *texts]):
        label(caption, 15, TILE).draw(draw, (GAP + column * (TILE + GAP), 8), "#1c1c1e")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            tile = ImageOps.fit(Image.fromarray(picture.rgb), (TILE, TILE))
            sheet.paste(tile, (GAP + column * (TILE + GAP), CAPTION + row * height))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", nargs="+", type=Path, default=PHOTOS)
    parser.add_argument("--texts", nargs="+", default=TEXTS)
    parser.add_argument("--encoders", default="pocket")
    parser.add_argument("--preset", type=Preset, default=Preset.DRAFT)
    parser.add_argument("--steps", type=at_least_one, help="default: the preset's")
    parser.add_argument("--size", type=at_least_one, help="default: the preset's")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=picture_file, default=ROOT / "docs" / "images" / "gallery.jpg")
    arguments = parser.parse_args()
    encoders = load(arguments.encoders)
    asked = {"preset": arguments.preset, "steps": arguments.steps, "size": arguments.size, "seed": arguments.seed}
    options: Any = {name: value for name, value in asked.items() if value is not None}
    rows = []
    for path in track(arguments.photos, description="photos"):
        photo = decode(path.read_bytes())
        results = [
            clipstyler.stylize(photo, text, encoders=encoders, **options).result().image for text in arguments.texts
        ]
        rows.append([fit(photo, TILE), *results])
    layout(arguments.texts, rows).save(arguments.out, quality=88, optimize=True)
    print(arguments.out)


if __name__ == "__main__":
    main()
