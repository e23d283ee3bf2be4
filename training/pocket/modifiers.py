"""Colors and moods: each changes a picture's colors or light and leaves its texture alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from training.pocket.generators.noise import Array, hsv, jitter, luminance, ramp, stretch_to_unit, unit, vivid

Modifier = Callable[[Generator, Array], Array]


def _tinted(hue: float, saturation: float = 0.9, brightest: float = 1.0) -> Modifier:
    """Make a modifier that turns a picture into tones of one hue (in turns), dark to light."""

    def tint(rng: Generator, picture: Array) -> Array:
        turned = hue + rng.normal(0, 0.012)
        strength = saturation * rng.uniform(0.8, 1.0)
        dark, middle, light = (
            hsv(turned, share * strength, value * brightest)
            for share, value in ((1.0, 0.06), (1.0, 0.75), (rng.uniform(0.2, 0.5), 1.0))
        )
        toned = ramp(stretch_to_unit(luminance(picture)), [dark.tolist(), middle.tolist(), light.tolist()])
        share = rng.uniform(0.75, 1.0)
        return unit(share * toned + (1 - share) * picture)

    return tint


def _white(rng: Generator, picture: Array) -> Array:
    darkest, share = rng.uniform(0.3, 0.6), rng.uniform(0.85, 1.0)
    light = stretch_to_unit(luminance(picture)) ** rng.uniform(0.35, 0.7)
    white = jitter(rng, (0.98, 0.98, 0.97), 0.012) * (darkest + (1 - darkest) * light)[..., None]
    return unit(share * white + (1 - share) * picture)


def _black(rng: Generator, picture: Array) -> Array:
    return unit(vivid(picture, rng.uniform(0, 0.35)) ** 1.4 * rng.uniform(0.25, 0.45))


def _monochrome(rng: Generator, picture: Array) -> Array:
    gray = stretch_to_unit(luminance(picture)) * rng.uniform(0.85, 1.0)
    return np.repeat(gray[..., None], 3, axis=-1)


def _dark(rng: Generator, picture: Array) -> Array:
    return unit(picture ** rng.uniform(1.4, 2.2) * rng.uniform(0.35, 0.6))


def _bright(rng: Generator, picture: Array) -> Array:
    return unit(picture ** rng.uniform(0.45, 0.7) * rng.uniform(1.05, 1.2) + 0.05)


def _vivid(rng: Generator, picture: Array) -> Array:
    return unit((vivid(picture, rng.uniform(2.0, 3.0)) - 0.5) * 1.15 + 0.5)


def _muted(rng: Generator, picture: Array) -> Array:
    return unit(vivid(picture, rng.uniform(0.25, 0.5)) * rng.uniform(0.5, 0.65) + rng.uniform(0.28, 0.36))


MODIFIERS: dict[str, Modifier] = {
    "red": _tinted(0.99),
    "orange": _tinted(0.075),
    "yellow": _tinted(0.15),
    "golden": _tinted(0.118, 0.85),
    "green": _tinted(0.34),
    "turquoise": _tinted(0.49),
    "blue": _tinted(0.61),
    "purple": _tinted(0.77),
    "pink": _tinted(0.91, 0.7),
    "brown": _tinted(0.07, 0.7, 0.75),
    "white": _white,
    "black": _black,
    "black and white": _monochrome,
    "dark": _dark,
    "bright": _bright,
    "vivid": _vivid,
    "muted": _muted,
}
