"""Photos per second that a style is applied to, at several sizes, from pixels to pixels.

Examples
--------
    python -m benchmarks.styles                     # 512 and 1024 px: under a minute on two cores
    python -m benchmarks.styles --sizes 512 --json styles.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.step import PHOTO
from clipstyler.imaging import Picture, decode, fit
from clipstyler.openmp import spin_briefly
from clipstyler.style import load_style
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_library import bundled_styles


@dataclass(frozen=True)
class Row:
    """One line of the table: a size, and the median seconds of a photo."""

    width: int
    height: int
    seconds: float
    photos_per_s: float


def measure(style: LoadedStyle, photo: Picture, count: int) -> Row:
    """Apply a style so many times, after one time that does not count."""
    seconds = []
    for _ in range(count + 1):
        begun = time.perf_counter()
        for _ in apply_style(style, photo, StyleControls()):
            pass
        seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds[1:])
    return Row(photo.width, photo.height, median, 1 / median)


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.styles", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="longest sides (default: 512 1024)")
    parser.add_argument("--count", type=int, default=7, help="photos of each size (default: %(default)s)")
    parser.add_argument("--style", type=Path, help="file of the style (default: the first bundled one)")
    parser.add_argument("--photo", type=Path, default=PHOTO, help="what is stylized (default: an example)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    figures.add_option(parser)
    options = parser.parse_args()
    spin_briefly()
    torch.set_num_threads(options.threads)
    file = options.style or bundled_styles()[0].path
    style = LoadedStyle.of(load_style(file.read_bytes()))
    photo = decode(options.photo.read_bytes())
    rows = [measure(style, fit(photo, size, enlarge=True), options.count) for size in options.sizes]
    table = Table("width", "height", "seconds", "photos per second")
    for row in rows:
        table.add_row(str(row.width), str(row.height), f"{row.seconds:.3f}", f"{row.photos_per_s:.2f}")
    Console().print(table)
    figures.write(options.json, {"sizes": [asdict(row) for row in rows]}, threads=options.threads)


if __name__ == "__main__":
    main()
