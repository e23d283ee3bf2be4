"""Real photos and textures to draw after, and the everyday faults of photos.

They come from the folder that `training.pocket.fetch` fills, or, without one, are the few that scikit-image and
scikit-learn bundle. `docs/pocket.md` lists what the shipped weights saw, with licenses.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from training.pocket.generators.noise import Array, blur, edges, fbm, luminance, stretch_to_unit, unit, warp

HELD_OUT = ("coffee", "flower")
"""Bundled photos that are never trained on."""
TRAINING = ("astronaut", "rocket", "china")
"""Bundled photos that training without a folder draws from; `training.pocket.fetch` keeps none of them for testing."""
FITTED = ("astronaut", "chelsea", "rocket", "china")
"""Bundled photos that the bundled styles are fitted to."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_LARGEST_SIDE = 480


class Sources(NamedTuple):
    """Photos, float32 (H, W, 3) in [0, 1], and real pictures of materials by the name of the concept."""

    photos: list[Array]
    textures: dict[str, list[Array]]

    @classmethod
    def load(cls, folder: Path | None = None) -> Sources:
        """Load what training may see: photos/train and textures/train/CONCEPT of a folder, or bundled photos."""
        if folder is None:
            return cls([_bundled(name) for name in TRAINING], {})
        textures = {place.name: pictures_in(place) for place in sorted((folder / "textures" / "train").iterdir())}
        return cls(pictures_in(folder / "photos" / "train"), textures)


def pictures_in(folder: Path) -> list[Array]:
    """The pictures of a folder in the order of their names, shrunk to 480 px: float32 (H, W, 3) in [0, 1]."""
    return [_shrunk(Image.open(path)) for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES]


def held_out_photos() -> list[Array]:
    """The bundled photos kept for evaluation: float32 (H, W, 3) in [0, 1]."""
    return [_bundled(name) for name in HELD_OUT]


def fitted_photos() -> list[Array]:
    """The bundled photos that the bundled styles are fitted to: float32 (H, W, 3) in [0, 1]."""
    return [_bundled(name) for name in FITTED]


def _bundled(name: str) -> Array:
    pixels = load_sample_image(f"{name}.jpg") if name in {"china", "flower"} else getattr(data, name)()
    return _shrunk(Image.fromarray(np.asarray(pixels)))


def _shrunk(image: Image.Image) -> Array:
    image = image.convert("RGB")
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32) / 255


def random_view(rng: Generator, photos: list[Array], size: int) -> Array:
    """A random square of a random photo at a random scale, mirrored half of the time: (size, size, 3)."""
    photo = photos[rng.integers(len(photos))]
    height, width = photo.shape[:2]
    side = int(rng.integers(min(90, height, width), min(height, width) + 1))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    square = (photo[top : top + side, left : left + side] * 255).astype(np.uint8)
    scaled = np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    return np.ascontiguousarray(scaled[:, ::-1]) if rng.random() < 0.5 else scaled


def with_fault(rng: Generator, photo: Array, colors_of: Array) -> Array:
    """A photo as cameras, filters and lazy optimizers give it; still a photo.

    Parameters
    ----------
    rng
        Source of randomness.
    photo
        The sound photo.
    colors_of
        An image whose colors one of the faults takes over: colors alone make no style.
    """
    fault = rng.integers(6)
    if fault == 0:
        return _color_cast(rng, photo)
    if fault == 1:
        sigma = rng.uniform(0.02, 0.1)
        return unit(photo + rng.normal(0, sigma, photo.shape))
    if fault == 2:
        return blur(photo, rng.uniform(0.7, 2.5))
    if fault in (3, 4):
        return _recolored(rng, photo, colors_of)
    return unit((photo - 0.5) * rng.uniform(0.5, 1.6) + 0.5 + rng.uniform(-0.2, 0.2))


def _color_cast(rng: Generator, photo: Array) -> Array:
    mix = np.eye(3) + rng.normal(0, 0.35, (3, 3))
    return (np.clip(photo @ mix + rng.normal(0, 0.12, 3), 0, 1) ** rng.uniform(0.6, 1.6)).astype(np.float32)


def _recolored(rng: Generator, photo: Array, colors_of: Array) -> Array:
    """Give a photo the colors of an image, by brightness rank: its palette without its texture."""
    order = np.argsort(luminance(colors_of), axis=None)
    sorted_colors = blur(colors_of.reshape(-1, 3)[order][:, None], 20.0)[:, 0]
    gray = luminance(photo)
    rank = np.argsort(np.argsort(gray, axis=None)).reshape(gray.shape)
    toned = sorted_colors[(rank * (len(order) - 1) // max(rank.size - 1, 1)).clip(0, len(order) - 1)]
    share = rng.uniform(0.6, 1.0)
    return unit(share * toned + (1 - share) * photo)


def made_of(rng: Generator, texture: Array, photo: Array) -> Array:
    """A photo rendered in a material, as a good stylization looks: its light or its outlines shape the texture."""
    light = stretch_to_unit(luminance(photo))
    if rng.random() < 0.4:
        bend = (blur(light, 2) - 0.5) * rng.uniform(4, 16)
        texture = warp(texture, bend, bend * rng.uniform(-1, 1))
    kind = rng.integers(3)
    if kind == 0:
        image = texture * (0.4 + rng.uniform(0.7, 1.1) * light)[..., None]
    elif kind == 1:
        image = texture * (0.75 + 0.5 * light)[..., None] * (1 - rng.uniform(0.4, 0.85) * edges(photo, 1.2))[..., None]
    else:
        rim = edges(photo, 1.5)[..., None]
        bright = np.percentile(texture.reshape(-1, 3), 97, axis=0)
        image = texture * (0.5 + 0.7 * light)[..., None] * (1 - 0.8 * rim) + 0.8 * rim * bright
    tint = rng.uniform(0, 0.12)
    return unit((1 - tint) * image + tint * photo * (0.3 + fbm(rng, len(photo), 4)[..., None])).astype(np.float32)
