"""How much photos of an album differ in one look, beside photos that are fitted separately.

One style is fitted to a sample of the photos, as `clipstyler album` does, and one to each photo. What its `--score`
prints is partly the photos' own difference, which no style takes away. So every photo is drawn in every style: the mean
of its looks is what the photo brings with it in any style, and what is left without that is the style's. And every
picture of the album is cut in two: whatever the halves of one picture differ by is no difference of styles.

Examples
--------
    python -m training fetch --out data
    python -m benchmarks.album --data data                        # two texts, twenty photos: some half an hour
    python -m benchmarks.album --data data --size 128 --fits fits --json album.json    # goes on if it is interrupted
    python -m benchmarks.album --data data --size 128 --cache cache --sheet sheet.png  # also asks the judge
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from clipstyler_cli.style_files import slug
from rich.progress import track
from rich.table import Table

import clipstyler
from benchmarks import figures
from benchmarks.arguments import at_least_one, output_folder, picture_file
from benchmarks.kept import digest_of_work, resolved
from benchmarks.style_verdicts import judged, unseen
from clipstyler.encoders.base import EncoderSet
from clipstyler.evaluation.consistency import Floats, Looks, Spread, looks
from clipstyler.harmonizing import Harmony, colors_of, common_colors, harmonized
from clipstyler.imaging import Picture, decode, fit
from clipstyler.sampling import evenly
from clipstyler.spec import StylizationSpec
from clipstyler.style import SUFFIX, Style, dump_style, load_style
from clipstyler.style_fitting import fit_style
from training.judge.training import Recipe, trained
from training.styles import drawn, sheet


@dataclass(frozen=True)
class Row:
    """Spreads of one text: root mean square distances from the mean.

    Attributes
    ----------
    separate, album, harmonized
        Each photo in the style that was fitted to it; all photos in the style that was fitted to a sample; these with
        `--harmonize`.
    separate_style, album_style, harmonized_style
        The same without what each photo brings with it in any style.
    halves
        What two halves of one picture of the album differ by, as the spread of pictures that differ as much.
    """

    text: str
    separate: Spread
    album: Spread
    harmonized: Spread
    separate_style: Spread
    album_style: Spread
    harmonized_style: Spread
    halves: Spread


class Pictures(NamedTuple):
    """Photos in the styles that were fitted to each, and in that of an album, without and with common colors."""

    separate: Sequence[Picture]
    album: Sequence[Picture]
    harmonized: Sequence[Picture]


@dataclass(frozen=True)
class Fits:
    """Fits styles of one size and number of steps, and keeps them in a folder if there is one."""

    encoders: EncoderSet
    size: int
    steps: int
    folder: Path | None

    def fitted(self, photos: Sequence[Picture], text: str, seed: int) -> Style:
        """Return a style that is fitted to photos, or was with the same encoders, calibration and options."""
        spec = resolved(text, {"size": self.size, "steps": self.steps, "seed": seed}, self.encoders)
        if self.folder is None:
            return self._fit(photos, spec)
        seen = b"".join(b"%d x %d" % (photo.width, photo.height) + photo.rgb.tobytes() for photo in photos)
        kept = self.folder / f"{slug(text)}-{digest_of_work(spec, self.encoders, seen)}{SUFFIX}"
        if not kept.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(".part")
            part.write_bytes(dump_style(self._fit(photos, spec)))
            part.replace(kept)
        return load_style(kept.read_bytes())

    def _fit(self, photos: Sequence[Picture], spec: StylizationSpec) -> Style:
        fitting = fit_style(photos, spec, self.encoders)
        while True:
            try:
                next(fitting)
            except StopIteration as end:
                style: Style = end.value
                return style


def measure(
    photos: Sequence[Picture], text: str, fits: Fits, sample: int, seed: int, share: float
) -> tuple[Row, Pictures]:
    """Fit, draw and measure one text."""
    encoders = fits.encoders
    album = fits.fitted(evenly(photos, sample), text, seed)
    seeds = range(seed, seed + len(photos))  # fits that know nothing of each other
    own = [
        fits.fitted([photo], text, own_seed)
        for own_seed, photo in track(list(zip(seeds, photos, strict=True)), f"fitting {text}")
    ]
    in_any = [[drawn(style, photo) for photo in photos] for style in track(own, "drawing")]
    found = [looks(zip(pictures, photos, strict=True), encoders) for pictures in track(in_any, "looking")]
    brought = Looks(*(np.mean(rows, axis=0) for rows in zip(*found, strict=True)))
    separate = Looks(*(_diagonal(rows) for rows in zip(*found, strict=True)))
    together = [drawn(album, photo) for photo in photos]
    common = common_colors([colors_of(picture) for picture in together])
    harmonious = [harmonized(picture, Harmony(common, share)) for picture in together]
    in_album, in_harmony = (looks(zip(pictures, photos, strict=True), encoders) for pictures in (together, harmonious))
    row = Row(
        text=text,
        separate=separate.spread(),
        album=in_album.spread(),
        harmonized=in_harmony.spread(),
        separate_style=_without(separate, brought).spread(),
        album_style=_without(in_album, brought).spread(),
        harmonized_style=_without(in_harmony, brought).spread(),
        halves=_between_halves(together, photos, encoders),
    )
    return row, Pictures([of_style[number] for number, of_style in enumerate(in_any)], together, harmonious)


def _between_halves(pictures: Sequence[Picture], photos: Sequence[Picture], encoders: EncoderSet) -> Spread:
    left, right = (
        looks(((_half(a, side), _half(b, side)) for a, b in zip(pictures, photos, strict=True)), encoders)
        for side in (0, 1)
    )
    squares = (((one - other) ** 2).sum(axis=1).mean() for one, other in zip(left, right, strict=True))
    return Spread(*(math.sqrt(square / 2) for square in squares))  # two of one spread differ by twice its square


def _half(picture: Picture, side: int) -> Picture:
    return Picture(np.array_split(picture.rgb, 2, axis=1)[side])


def _diagonal(rows: Sequence[Floats]) -> Floats:
    """Return the row of photo 1 in style 1, of photo 2 in style 2, and so on."""
    return np.stack([of_style[number] for number, of_style in enumerate(rows)])


def _without(found: Looks, brought: Looks) -> Looks:
    return Looks(*(one - other for one, other in zip(found, brought, strict=True)))


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows for people."""
    table = Table("text", "spread of", "part", "separate fits", "album", "harmonized", "halves of a picture")
    for row in rows:
        for part, spreads in (
            ("all", (row.separate, row.album, row.harmonized, row.halves)),
            ("the style's", (row.separate_style, row.album_style, row.harmonized_style)),
        ):
            for name, separate, *others in zip(Spread._fields, *spreads, strict=True):
                table.add_row(row.text, name, part, *_beside(separate, others))
    figures.show(table)


def _beside(separate: float, others: Sequence[float]) -> list[str]:
    return [f"{separate:.4f}", *(f"{other / separate:.2f}" for other in others)]


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.album", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that `python -m training fetch` filled")
    parser.add_argument(
        "--fits", type=output_folder, help="folder that keeps fitted styles: a run goes on where it stopped"
    )
    parser.add_argument(
        "--cache", type=output_folder, help="folder that keeps the trained judge, which then names pictures"
    )
    parser.add_argument("--sheet", type=picture_file, help="lay the pictures out here, to be looked at")
    parser.add_argument("--texts", nargs="+", default=["stained glass", "watercolor painting"])
    parser.add_argument("--photos", type=at_least_one, default=20, help="test photos (default: %(default)s)")
    parser.add_argument(
        "--size", type=at_least_one, default=256, help="longest side of the photos (default: %(default)s)"
    )
    parser.add_argument(
        "--sample", type=at_least_one, default=4, help="photos that the album is fitted to (default: %(default)s)"
    )
    parser.add_argument("--steps", type=at_least_one, default=60, help="of each fit (default: %(default)s)")
    parser.add_argument("--harmonize", type=float, default=0.5, help="share of common colors (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch (default: %(default)s)")
    figures.add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoders = clipstyler.load_encoders("pocket")
    photos = [fit(decode(path.read_bytes()), options.size) for path in unseen(options.data, options.photos)]
    fits = Fits(encoders, options.size, options.steps, options.fits)
    judge = trained(options.data, options.cache, Recipe()) if options.cache else None
    rows, verdicts, strips = [], [], [("photos", photos)]
    for text in options.texts:
        row, pictures = measure(photos, text, fits, options.sample, options.seed, options.harmonize)
        rows.append(row)
        strips += [(f"{text}, {name}", shown) for name, shown in pictures._asdict().items()]
        if judge:
            right = {name: judged(judge, text, shown).right for name, shown in pictures._asdict().items()}
            verdicts.append({"text": text, "named_right": right})
    print_table(rows)
    figures.show(*verdicts, sep="\n")
    if options.sheet:
        sheet(strips).save(options.sheet)
    work = {name: getattr(options, name) for name in ("sample", "size", "steps", "seed", "harmonize")}
    found = {"texts": [_plain(row) for row in rows], "verdicts": verdicts}
    figures.write(options.json, {"photos": len(photos)} | work | found, threads=options.threads)


def _plain(row: Row) -> dict[str, object]:
    return {name: value._asdict() if isinstance(value, Spread) else value for name, value in vars(row).items()}


if __name__ == "__main__":
    main()
