"""How much photos of an album differ in one look, beside photos that are fitted separately.

One style is fitted to a sample of the photos, as `clipstyler album` does, and one to each photo. What its `--score`
prints is partly the photos' own difference, which no style takes away. So every photo is drawn in every style: the mean
of its looks is what the photo brings with it in any style, and what is left without that is the style's.

Examples
--------
    python -m training fetch --out data
    python -m benchmarks.album --data data                        # two texts, twenty photos: some ten minutes
    python -m benchmarks.album --data data --texts fire --steps 60 --json album.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import clipstyler
from benchmarks import figures
from benchmarks.style_verdicts import unseen
from clipstyler.encoders.base import EncoderSet
from clipstyler.evaluation.consistency import Floats, Looks, Spread, looks
from clipstyler.imaging import Picture, decode, fit
from clipstyler.sampling import evenly
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
from clipstyler.style import Style
from clipstyler.style_fitting import fit_style
from training.styles import drawn

_SAMPLE = 4


@dataclass(frozen=True)
class Row:
    """Spreads of one text: root mean square distances from the mean.

    Attributes
    ----------
    separate, album
        Each photo in the style that was fitted to it; all photos in the style that was fitted to a sample.
    separate_style, album_style
        The same without what each photo brings with it in any style.
    """

    text: str
    separate: Spread
    album: Spread
    separate_style: Spread
    album_style: Spread


def fitted(photos: Sequence[Picture], text: str, encoders: EncoderSet, size: int, steps: int, seed: int) -> Style:
    """Fit a style."""
    request = SpecRequest(text, options={"size": size, "steps": steps, "seed": seed})
    spec = resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())
    fitting = fit_style(photos, spec, encoders)
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            style: Style = end.value
            return style


def measure(photos: Sequence[Picture], text: str, encoders: EncoderSet, size: int, steps: int, seed: int) -> Row:
    """Fit, draw and measure one text."""
    album = fitted(evenly(photos, _SAMPLE), text, encoders, size, steps, seed)
    seeds = range(seed, seed + len(photos))  # fits that know nothing of each other
    own = [
        fitted([photo], text, encoders, size, steps, own_seed)
        for own_seed, photo in track(list(zip(seeds, photos, strict=True)), f"fitting {text}")
    ]
    in_any = [looks([drawn(style, photo) for photo in photos], photos, encoders) for style in track(own, "drawing")]
    brought = Looks(*(np.mean(rows, axis=0) for rows in zip(*in_any, strict=True)))
    separate = Looks(*(_diagonal(rows) for rows in zip(*in_any, strict=True)))
    together = looks([drawn(album, photo) for photo in photos], photos, encoders)
    return Row(
        text=text,
        separate=separate.spread(),
        album=together.spread(),
        separate_style=_without(separate, brought).spread(),
        album_style=_without(together, brought).spread(),
    )


def _diagonal(rows: Sequence[Floats]) -> Floats:
    """Return the row of photo 1 in style 1, of photo 2 in style 2, and so on."""
    return np.stack([of_style[number] for number, of_style in enumerate(rows)])


def _without(found: Looks, brought: Looks) -> Looks:
    return Looks(*(one - other for one, other in zip(found, brought, strict=True)))


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows for people."""
    table = Table("text", "spread of", "part", "separate fits", "album", "album / separate")
    for row in rows:
        for part, separate, album in (
            ("all", row.separate, row.album),
            ("the style's", row.separate_style, row.album_style),
        ):
            for name, one, other in zip(Spread._fields, separate, album, strict=True):
                table.add_row(row.text, name, part, f"{one:.4f}", f"{other:.4f}", f"{other / one:.2f}")
    Console().print(table)


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.album", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that `python -m training fetch` filled")
    parser.add_argument("--texts", nargs="+", default=["stained glass", "watercolor painting"])
    parser.add_argument("--photos", type=int, default=20, help="test photos (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="longest side of the photos (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of each fit (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    figures.add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoders = clipstyler.load_encoders("pocket")
    photos = [fit(decode(path.read_bytes()), options.size) for path in unseen(options.data, options.photos)]
    rows: list[Row] = []
    for text in options.texts:
        rows.append(measure(photos, text, encoders, options.size, options.steps, options.seed))
        work = {"photos": len(photos), "sample": _SAMPLE, "size": options.size, "steps": options.steps}
        found = {"texts": [_plain(row) for row in rows]}
        figures.write(options.json, work | {"seed": options.seed} | found, threads=options.threads)
    print_table(rows)


def _plain(row: Row) -> dict[str, object]:
    return {name: value._asdict() if isinstance(value, Spread) else value for name, value in vars(row).items()}


if __name__ == "__main__":
    main()
