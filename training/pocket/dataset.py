"""The training images: chunk `number` of a run is a pure function of its seed, so runs repeat."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from clipstyler.pocket.knowledge import PHOTO, known_concepts
from training.pocket.concepts import MEDIA, TEXTURES
from training.pocket.generators.noise import Array
from training.pocket.photos import Sources, made_of, random_view, with_fault

SIDE = 128
"""Side of the stored pictures in pixels; the views of the towers are cut from them."""

# Of every material, so many pictures are photos rendered in it; the rest is the bare material.
_SHARE_RENDERED = 0.65
# Of a material of which there are real pictures, so many are taken from those; of few pictures, fewer.
_SHARE_REAL, _ENOUGH_REAL = 0.35, 6
_FLATTEST = 0.04  # deviation of a cut-out that still shows the material
# The photo stands against all other concepts, and comes in many faults: it fills this share of the pictures.
_SHARE_PHOTO = 0.08
# A medium keeps a photo's colors and shows in its marks alone, which takes longer to learn than a material.
_MEDIUM_TO_MATERIAL = 1.7


class Chunk(NamedTuple):
    """Pictures, uint8 (N, SIDE, SIDE, 3), and the number of the concept of each, int64 (N,)."""

    pictures: NDArray[np.uint8]
    concepts: NDArray[np.int64]


def draw(concept: str, rng: Generator, sources: Sources, size: int = SIDE) -> Array:
    """Draw one picture of a concept: float32 (size, size, 3) in [0, 1]."""
    photo = random_view(rng, sources.photos, size)
    if concept == PHOTO:
        names = list(TEXTURES)
        if rng.random() < 0.4:
            return photo
        return with_fault(rng, photo, TEXTURES[names[rng.integers(len(names))]](rng, size))
    if concept in TEXTURES:
        material = _material(concept, rng, sources, size)
        return made_of(rng, material, photo) if rng.random() < _SHARE_RENDERED else material
    return MEDIA[concept](rng, photo)


def _material(concept: str, rng: Generator, sources: Sources, size: int) -> Array:
    real = sources.textures.get(concept, [])
    if rng.random() < _SHARE_REAL * min(1.0, len(real) / _ENOUGH_REAL):
        view = random_view(rng, real, size)
        if view.std() > _FLATTEST:
            return view
    return np.asarray(TEXTURES[concept](rng, size), np.float32)


def to_bytes(picture: Array) -> NDArray[np.uint8]:
    """Quantize [0, 1] to 8 bits."""
    return np.asarray(np.round(np.clip(picture, 0, 1) * 255), np.uint8)


def chunk(seed: int, number: int, count: int, sources: Sources) -> Chunk:
    """Draw chunk `number` of a training run: `count` pictures of random concepts."""
    rng = np.random.default_rng([seed, number])
    names = known_concepts()
    concepts = rng.choice(len(names), count, p=_shares(names))
    pictures = np.stack([to_bytes(draw(names[concept], rng, sources)) for concept in concepts])
    return Chunk(pictures, concepts.astype(np.int64))


def _shares(names: Sequence[str]) -> NDArray[np.float64]:
    """Share of every concept among the pictures."""
    weights = np.array([_MEDIUM_TO_MATERIAL if name in MEDIA else 1.0 for name in names])
    weights[names.index(PHOTO)] = 0
    weights *= (1 - _SHARE_PHOTO) / weights.sum()
    weights[names.index(PHOTO)] = _SHARE_PHOTO
    return weights


class ImageGenerator:
    """Draws chunks in a worker process, which loads the photos once."""

    sources: Sources

    @classmethod
    def start(cls, folder: Path | None) -> None:
        """Load the photos, and give way to the optimization from now on; the initializer of a process pool."""
        os.nice(10)
        cls.sources = Sources.load(folder)

    @classmethod
    def paint(cls, seed: int, number: int, count: int) -> Chunk:
        """Draw a chunk with the photos loaded at the start."""
        return chunk(seed, number, count, cls.sources)
