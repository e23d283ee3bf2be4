#!/usr/bin/env python
"""Draw the looks of `lab/clipstyler_lab/styles` with the generators of `pocket`: `python scripts/draw_styles.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from training.pocket.concepts import MEDIA, TEXTURES

ROOT = Path(__file__).parents[1]
LOOKS = (
    *("fire", "water", "snow", "galaxy", "autumn leaves", "wood", "stone wall", "brick wall", "gold", "crystal"),
    *("leather", "zebra stripes", "pencil sketch", "oil painting", "watercolor painting", "blueprint"),
    *("starry night", "mosaic", "stained glass", "neon light"),
)
SIZE, QUALITY, SEED = 192, 82, 20_261
PHOTOS = ("coffee.jpg", "cat.jpg")
"""Media are drawn after these."""


def drawn(look: str, number: int) -> Image.Image:
    """Draw one picture of a look."""
    rng = np.random.default_rng([SEED, LOOKS.index(look), number])
    if look in TEXTURES:
        picture = TEXTURES[look](rng, SIZE)
    else:
        photo = Image.open(ROOT / "examples" / PHOTOS[number % len(PHOTOS)]).convert("RGB")
        side = min(photo.size)
        square = photo.crop((0, 0, side, side)).resize((SIZE, SIZE))
        picture = MEDIA[look](rng, np.asarray(square, np.float32) / 255)
    return Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))


def main() -> None:
    """Draw every look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "lab" / "clipstyler_lab" / "styles")
    parser.add_argument("--each", type=int, default=3, help="pictures of each look (default: 3)")
    options = parser.parse_args()
    for look in LOOKS:
        folder = options.out / look
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(options.each):
            drawn(look, number).save(folder / f"{number + 1}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
