"""What marks the border of a result of `pocket`: its outer band beside the inside, before and after the remedies.

Examples
--------
    python -m benchmarks.borders                              # four drawn photos by two texts, three ways: four minutes
    python -m benchmarks.borders --photos flat --texts gold --steps 30
    python -m benchmarks.borders --out out/borders.png --json borders.json

The photos are drawn: `flat` has one color, `gradient` gets darker to the right, `vignetted` towards its corners, and
`beach` is a vignetted sky above sea and sand, of which only the sky counts. No text asks for a frame, so whatever
depends on the distance from the border is an artifact, except that a photo's own light may show. `before` is the
calibration without the remedies; `mirrored` has a mirrored border, and crops that cover it as often as the middle;
`calibrated` has noise of several octaves too.

`color` is the mean of the outer 16 px minus that of the rest, as the largest of three channels, in levels of 255;
`texture` the local deviation of luminance in the band as a multiple of that inside; `frame` the deviation, in levels,
of the blurred result that its distance from the border explains: a rectangle in other colors inside the picture.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from rich.table import Table
from scipy import ndimage

import clipstyler
from benchmarks import figures
from benchmarks.arguments import at_least_one, picture_file
from clipstyler.encoders.base import EncoderSet
from clipstyler.imaging import Picture

TEXTS = ("gold", "fire")
BAND = 16
_ZONES = (0, 4, 8, 16, 24, 32, 48, 64)  # distances from the border in pixels, the last one open
_COARSE = 6.0  # deviation in pixels of the blur that leaves colors without texture
_FINE = 2.0  # of the blur whose remainder is texture
_GRAIN = 1.0  # of a camera, in levels

Array = NDArray[np.float64]


class Photo(NamedTuple):
    """A drawn photo, and where in it nothing but light changes."""

    picture: Picture
    plain: NDArray[np.bool_]


@dataclass(frozen=True)
class Marks:
    """How much the border shows in a picture; the module describes the three."""

    color: float
    texture: float
    frame: float


@dataclass(frozen=True)
class Row:
    """One photo under one treatment: means over all texts, and what the photo has itself."""

    photo: str
    treatment: str
    color: float
    texture: float
    frame: float
    own_color: float
    own_frame: float


def draw(name: str, size: int) -> Photo:
    """Draw one of `PHOTOS`, size x size."""
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    colors, plain = PHOTOS[name](x, y)
    grain = 0 if name == "flat" else np.random.default_rng(0).normal(0, _GRAIN, (size, size, 1))
    return Photo(Picture((colors * 255 + grain).round().clip(0, 255).astype(np.uint8)), plain)


def _colored(light: Array, color: tuple[float, float, float]) -> Array:
    colors: Array = light[..., None] * np.array(color)
    return colors


def _flat(x: Array, _y: Array) -> tuple[Array, NDArray[np.bool_]]:
    return _colored(np.ones_like(x), (0.5, 0.5, 0.5)), np.ones_like(x, bool)


def _gradient(x: Array, _y: Array) -> tuple[Array, NDArray[np.bool_]]:
    return _colored(0.9 - 0.2 * x, (0.6, 0.72, 0.88)), np.ones_like(x, bool)


def _vignetted(x: Array, y: Array) -> tuple[Array, NDArray[np.bool_]]:
    return _colored(1 - 0.25 * (x**2 + y**2), (0.6, 0.72, 0.88)), np.ones_like(x, bool)


def _beach(x: Array, y: Array) -> tuple[Array, NDArray[np.bool_]]:
    light = 1 - 0.25 * (x**2 + y**2)
    sky, sea, sand = (_colored(light, c) for c in ((0.58, 0.73, 0.92), (0.16, 0.42, 0.55), (0.82, 0.74, 0.58)))
    waves = 0.06 * np.sin(140 * y + 6 * np.sin(9 * x))[..., None]
    shore = (y > 0.24 + 0.03 * np.sin(8 * x))[..., None]
    return np.where(shore, sand, np.where((y > 0.1)[..., None], sea + waves, sky)), y < 0.06


PHOTOS: dict[str, Callable[[Array, Array], tuple[Array, NDArray[np.bool_]]]] = {
    "flat": _flat,
    "gradient": _gradient,
    "vignetted": _vignetted,
    "beach": _beach,
}


def marks(picture: Picture, plain: NDArray[np.bool_]) -> Marks:
    """Measure how much the border shows where a photo is plain."""
    levels = picture.rgb.astype(np.float64)
    distance = _distance(*plain.shape)
    band, inside = plain & (distance < BAND), plain & (distance >= BAND)
    color = levels[band].mean(axis=0) - levels[inside].mean(axis=0)
    gray = levels.mean(axis=2)
    texture = gray - ndimage.gaussian_filter(gray, _FINE)
    energies = [float(texture[part].std()) for part in (band, inside)]
    return Marks(
        float(np.abs(color).max()), energies[0] / energies[1] if energies[1] else 1.0, _frame(levels, plain, distance)
    )


def _distance(height: int, width: int) -> NDArray[np.int64]:
    """Pixels between each pixel and the nearest border, (height, width)."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    return np.minimum(y[:, None], x[None])


def _frame(levels: Array, plain: NDArray[np.bool_], distance: NDArray[np.int64]) -> float:
    """Deviation of the blurred levels that zones of distance explain, where the picture is plain."""
    zone = np.digitize(distance[plain], _ZONES)
    zones, counts = np.unique(zone, return_counts=True)
    coarse = ndimage.gaussian_filter(np.where(plain[..., None], levels, 0), (_COARSE, _COARSE, 0))
    coarse = coarse[plain] / ndimage.gaussian_filter(plain.astype(np.float64), _COARSE)[plain][:, None]
    means = np.stack([coarse[zone == number].mean(axis=0) for number in zones])
    return float(np.average((means - coarse.mean(axis=0)) ** 2, axis=0, weights=counts).mean() ** 0.5)


_WHITE: dict[str, Any] = {"noise_octaves": 1, "input_noise": 0.06}
TREATMENTS: dict[str, dict[str, Any]] = {
    "before": {"border": "zero", "crop_overhang": 0.3, **_WHITE},
    "mirrored": _WHITE,
    "calibrated": {},
}
"""Options beside the calibration's."""


def stylized(
    photo: Photo, texts: list[str], treatment: str, encoders: EncoderSet, steps: int | None
) -> Iterator[Picture]:
    """Yield the photo as each text."""
    chosen = TREATMENTS[treatment] | ({"steps": steps} if steps else {})
    for text in texts:
        run = clipstyler.stylize(photo.picture, text, encoders=encoders, seed=0, **chosen)
        yield run.result().image


def measure(name: str, photo: Photo, treatment: str, results: list[Picture]) -> Row:
    """Return the means over the results of a photo."""
    found = [marks(result, photo.plain) for result in results]
    own = marks(photo.picture, photo.plain)
    means = {key: statistics.mean(getattr(each, key) for each in found) for key in ("color", "texture", "frame")}
    return Row(name, treatment, **means, own_color=own.color, own_frame=own.frame)


def print_table(rows: list[Row]) -> None:
    """Print the rows for people."""
    table = Table(title="The outer 16 px beside the inside, in levels of 255; means over the texts")
    for heading in ("photo", "treatment", "color (photo's own)", "texture, times", "frame (photo's own)"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.photo,
            row.treatment,
            f"{row.color:.1f} ({row.own_color:.1f})",
            f"{row.texture:.2f}",
            f"{row.frame:.1f} ({row.own_frame:.1f})",
        )
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", nargs="+", choices=PHOTOS, default=list(PHOTOS))
    parser.add_argument("--texts", nargs="+", default=list(TEXTS), metavar="TEXT", help="default: two looks")
    parser.add_argument("--size", type=at_least_one, default=256, help="side of the photos in pixels (default: 256)")
    parser.add_argument("--steps", type=at_least_one, help="default: the preset's")
    parser.add_argument("--out", type=picture_file, help="also lay the photos and all results out in this picture")
    figures.add_option(parser)
    arguments = parser.parse_args()
    encoders = clipstyler.load_encoders("pocket")
    rows, lines = [], []
    for name in track(arguments.photos, description="photos"):
        photo = draw(name, arguments.size)
        for treatment in TREATMENTS:
            results = list(stylized(photo, arguments.texts, treatment, encoders, arguments.steps))
            rows.append(measure(name, photo, treatment, results))
            lines.append(np.hstack([photo.picture.rgb, *(result.rgb for result in results)]))
    print_table(rows)
    if arguments.out:
        Image.fromarray(np.vstack(lines)).save(arguments.out)
    figures.write(arguments.json, {"rows": [asdict(row) for row in rows]}, torch.get_num_threads())


if __name__ == "__main__":
    main()
