"""Draw the small pictures beside the suggestions: one tile per look that the bundled encoders know.

Run from the root of the repository after a change of the vocabulary: `python -m client.web.scripts.draw_looks`.
The tiles stand in rows of `COLUMNS`, in the order of `clipstyler/pocket/vocabulary.toml`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.pocket.concepts import MEDIA, TEXTURES

COLUMNS = 10
TILE = 40
DRAWN = 160
SHEET = Path(__file__).resolve().parents[1] / "src" / "looks.webp"
PHOTO = Path(__file__).resolve().parents[3] / "examples" / "coffee.jpg"
# Failures of an optimizer, which the vocabulary names to tell them apart from styles.
NO_STYLES = {"noise", "haze"}


def main() -> None:
    """Write the sheet."""
    tiles = [*_textures(), *_media()]
    sheet = Image.new("RGB", (COLUMNS * TILE, -(-len(tiles) // COLUMNS) * TILE))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % COLUMNS * TILE, index // COLUMNS * TILE))
    sheet.save(SHEET, quality=45, method=6)


def _textures() -> list[Image.Image]:
    names = [name for name in TEXTURES if name not in NO_STYLES]
    return [_tile(TEXTURES[name](np.random.default_rng(1), DRAWN)) for name in names]


def _media() -> list[Image.Image]:
    photo = np.asarray(Image.open(PHOTO).convert("RGB").resize((DRAWN, DRAWN)), np.float32) / 255
    return [_tile(draw(np.random.default_rng(1), photo)) for name, draw in MEDIA.items() if name not in NO_STYLES]


def _tile(drawn: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(drawn, 0, 1) * 255).astype(np.uint8)).resize((TILE, TILE))


if __name__ == "__main__":
    main()
