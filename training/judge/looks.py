"""The twenty texts that the judge knows, and pictures of each: flat, and photos rendered in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from training.judge import materials, media
from training.judge.drawing import Array, clouds, luminance, moved, outlines, relief, saturated, soft, spread, unit

MATERIALS: dict[str, Callable[[Generator, int], Array]] = {
    "fire": materials.fire,
    "stone wall": materials.stone_wall,
    "gold": materials.gold,
    "desert sand": materials.desert_sand,
    "green crystal": materials.green_crystal,
    "white wool": materials.white_wool,
    "wood": materials.wood,
    "autumn leaves": materials.autumn_leaves,
    "zebra stripes": materials.zebra,
    "lava": materials.lava,
}
MEDIA: dict[str, Callable[[Generator, Array], Array]] = {
    "a sketch with black pencil": media.pencil_sketch,
    "stained glass": media.stained_glass,
    "starry night by vincent van gogh": media.starry_night,
    "mosaic": media.mosaic,
    "neon light": media.neon_light,
    "watercolor painting": media.watercolor,
    "pop art": media.pop_art,
    "blueprint": media.blueprint,
    "pixel art": media.pixel_art,
    "ink wash painting": media.ink_wash,
}
TEXTS = (
    "fire",
    "a sketch with black pencil",
    "stained glass",
    "starry night by vincent van gogh",
    "mosaic",
    "stone wall",
    "gold",
    "neon light",
    "watercolor painting",
    "desert sand",
    "pop art",
    "green crystal",
    "white wool",
    "wood",
    "autumn leaves",
    "blueprint",
    "pixel art",
    "zebra stripes",
    "ink wash painting",
    "lava",
)

REAL = {
    "lava": ("train/lava",),
    "stone wall": ("train/stone wall", "judge/stone"),
    "wood": ("train/wood", "judge/wood"),
    "desert sand": ("train/sand",),
}
"""Folders of real textures that a text clearly names."""
_FOLDS = 5


def photos(folder: Path) -> list[Array]:
    """The pictures of a folder in the order of their names, float32 (H, W, 3) in [0, 1]."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".jpg", ".png"})
    return [np.asarray(Image.open(path).convert("RGB"), np.float32) / 255 for path in files]


def real_textures(data: Path, held_out: bool) -> dict[str, list[Array]]:
    """Real textures by text; every fifth of each is held out."""
    found: dict[str, list[Array]] = {}
    for text, folders in REAL.items():
        files = [path for name in folders for path in sorted((data / "textures" / name).glob("*.png"))]
        chosen = [path for i, path in enumerate(files) if (i % _FOLDS == _FOLDS - 1) is held_out]
        found[text] = [np.asarray(Image.open(path).convert("RGB"), np.float32) / 255 for path in chosen]
    return found


def square(rng: Generator, pictures: Sequence[Array], size: int, smallest: float = 0.4) -> Array:
    """A random square of a random picture, mirrored half of the time: (size, size, 3)."""
    picture = pictures[int(rng.integers(len(pictures)))]
    height, width = picture.shape[:2]
    side = max(8, int(min(height, width) * rng.uniform(smallest, 1)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    cut = Image.fromarray((picture[top : top + side, left : left + side] * 255).astype(np.uint8))
    scaled = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    return np.ascontiguousarray(scaled[:, ::-1]) if rng.random() < 0.5 else scaled


def rendered(rng: Generator, texture: Array, photo: Array) -> Array:
    """A photo made of a material, in one of the ways in which stylizations come out."""
    light = spread(soft(luminance(photo), rng.uniform(0.5, 2)))
    way = rng.integers(4)
    if way == 0:
        return unit(texture * (0.35 + rng.uniform(0.7, 1.2) * light)[..., None])
    if way == 1:
        bend = rng.uniform(-14, 14)
        shade = relief(light, rng.uniform(0, 6.3), rng.uniform(6, 20))
        return unit(moved(texture, bend * light, -bend * light) * (0.45 + 1.1 * shade)[..., None])
    if way == 2:
        share = rng.uniform(0.25, 0.6)
        return unit((1 - share) * texture + share * _by_rank(texture, light))
    line = outlines(photo, rng.uniform(0.8, 2))[..., None]
    color = np.percentile(texture.reshape(-1, 3), rng.choice([3, 97]), axis=0)
    return unit((texture * (0.7 + 0.5 * light)[..., None]) * (1 - 0.85 * line) + 0.85 * line * color)


def _by_rank(texture: Array, light: Array) -> Array:
    """The texture's colors, laid out by the photo's light."""
    colors = texture.reshape(-1, 3)[np.argsort(luminance(texture), axis=None)]
    laid: Array = colors[(light * (len(colors) - 1)).astype(int)]
    return laid


def weakened(rng: Generator, styled: Array, photo: Array) -> Array:
    """Less of a style than asked for, or with a little of the photo's color, as an optimizer leaves it."""
    share = rng.uniform(0, 0.3)
    mixed = (1 - share) * styled + share * photo
    contrast = rng.uniform(0.8, 1.5)
    return unit(saturated(unit(mixed), rng.uniform(0.8, 1.3)) * contrast + 0.5 * (1 - contrast))


def picture(rng: Generator, text: str, size: int, contents: Sequence[Array], real: dict[str, list[Array]]) -> Array:
    """Draw one picture that the text names: (size, size, 3)."""
    content = square(rng, contents, size)
    if text in MEDIA:
        drawn = MEDIA[text](rng, content if rng.random() < 0.85 else _blots(rng, size))
        return drawn if rng.random() < 0.6 else weakened(rng, drawn, content)
    known = real.get(text, [])
    is_real = bool(known) and rng.random() < 0.5
    texture = square(rng, known, size) if is_real else MATERIALS[text](rng, size)
    if rng.random() < (0.6 if is_real else 0.3):
        return texture
    styled = rendered(rng, texture, content)
    if text == "gold" and rng.random() < 0.4:
        styled = materials.gilded(rng, spread(soft(luminance(content), rng.uniform(0.8, 2))))
    if text == "fire" and rng.random() < 0.5:
        light = spread(soft(luminance(content), rng.uniform(0.8, 2)))
        styled = materials.ablaze(rng, light, outlines(content, rng.uniform(0.8, 2)))
    return styled if rng.random() < 0.6 else weakened(rng, styled, content)


def _blots(rng: Generator, size: int) -> Array:
    """No photo, but blots of color."""
    return np.stack([clouds(rng, size, int(rng.integers(2, 5)), 0.4) for _ in range(3)], axis=-1)
