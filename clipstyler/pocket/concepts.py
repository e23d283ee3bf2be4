"""Concept name -> what draws it. Adding a concept is a generator, one line here, and its wordings in `knowledge`."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from clipstyler.pocket import generators_materials as materials
from clipstyler.pocket import generators_media as media
from clipstyler.pocket import generators_nature as nature
from clipstyler.pocket import generators_patterns as patterns
from clipstyler.pocket.noise import Array

Texture = Callable[[Generator, int], Array]
"""Draws (size, size, 3) in [0, 1] from nothing."""
Medium = Callable[[Generator, Array], Array]
"""Draws (size, size, 3) in [0, 1] after a photo of that shape."""

TEXTURES: dict[str, Texture] = {
    "fire": nature.fire,
    "water": nature.water,
    "ice": nature.ice,
    "grass": nature.grass,
    "clouds": nature.clouds,
    "sand": nature.sand,
    "galaxy": nature.galaxy,
    "autumn leaves": nature.autumn,
    "wood": materials.wood,
    "stone wall": materials.stone,
    "brick wall": materials.brick,
    "marble": materials.marble,
    "gold": materials.gold,
    "silver": materials.silver,
    "rust": materials.rust,
    "wool": materials.wool,
}

MEDIA: dict[str, Medium] = {
    "pencil sketch": media.sketch,
    "coloured pencil": media.coloured_pencil,
    "ink wash": media.ink,
    "oil painting": media.oil,
    "watercolor painting": media.watercolour,
    "starry night": media.starry,
    "cubism": media.cubism,
    "engraving": media.engraving,
    "blueprint": media.blueprint,
    "mosaic": patterns.mosaic,
    "stained glass": patterns.stained_glass,
    "neon light": patterns.neon,
    "pop art": patterns.pop_art,
    "pointillism": patterns.pointillism,
    "pixel art": patterns.pixel_art,
    "low poly": patterns.low_poly,
    "glitch": patterns.glitch,
    "noise": patterns.noise,
    "haze": patterns.haze,
}
