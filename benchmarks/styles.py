"""Photos per second that a style is applied to, at several sizes: from pixels to pixels, and from JPEG to PNG.

With `--served` also through a server: one call of `ApplyStyle`, in which each photo is sent when the one before was
answered.

Examples
--------
    python -m benchmarks.styles                     # 512 and 1024 px: under a minute on two cores
    python -m benchmarks.styles --sizes 512 --served --json styles.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from clipstyler_client import Client
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.serving import serving
from benchmarks.step import PHOTO
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import Picture, decode, decode_fitted, encode, fit
from clipstyler.openmp import spin_briefly
from clipstyler.style import load_style
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_library import bundled_styles

Serve = Callable[[bytes, int], float]
"""Has a photo stylized so many times; returns the seconds of one."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a size, the median seconds of each part of a photo, and those through a server."""

    width: int
    height: int
    decode_s: float
    draw_s: float
    encode_s: float
    served_s: float | None

    @property
    def photos_per_s(self) -> float:
        """Photos that are drawn per second, from pixels to pixels."""
        return 1 / self.draw_s


def measure(style: LoadedStyle, photo: Picture, count: int, serve: Serve | None) -> Row:
    """Apply a style so many times, after one time that does not count."""
    file = encode(photo, ImageFormat.JPEG)
    seconds: list[tuple[float, float, float]] = []
    for _ in range(count + 1):
        begun = time.perf_counter()
        picture = decode_fitted(file, max(photo.width, photo.height))
        decoded = time.perf_counter()
        drawn = _drawn(style, picture)
        done = time.perf_counter()
        encode(drawn, ImageFormat.PNG)
        seconds.append((decoded - begun, done - decoded, time.perf_counter() - done))
    decode_s, draw_s, encode_s = (statistics.median(part) for part in zip(*seconds[1:], strict=True))
    return Row(photo.width, photo.height, decode_s, draw_s, encode_s, serve(file, count) if serve else None)


def _drawn(style: LoadedStyle, picture: Picture) -> Picture:
    drawing = apply_style(style, picture, StyleControls(), check=lambda: None)
    while True:
        try:
            next(drawing)
        except StopIteration as end:
            drawn: Picture = end.value
            return drawn


@contextmanager
def _server(style: bytes, threads: int) -> Iterator[Serve]:
    """Run a server that has a style."""
    with serving(threads=threads, evaluator=False) as (target, _), Client(target) as client:
        name = client.styles.upload(style).name
        yield partial(_served, client, name)


def _served(client: Client, style: str, file: bytes, count: int) -> float:
    """Return the median seconds between the results of one call; the first one does not count."""
    times = []
    for styled in client.styles.apply(style, [file] * (count + 1)):
        if styled.error:
            raise styled.error
        times.append(time.perf_counter())
    return statistics.median(later - earlier for earlier, later in pairwise(times))


def print_table(rows: list[Row]) -> None:
    """Print the rows for people."""
    table = Table("size", "decode", "draw", "encode", "drawn per second", "through a server", "per second")
    for row in rows:
        parts = (f"{value:.3f} s" for value in (row.decode_s, row.draw_s, row.encode_s))
        served = (f"{row.served_s:.3f} s", f"{1 / row.served_s:.2f}") if row.served_s else ("", "")
        table.add_row(f"{row.width} x {row.height}", *parts, f"{row.photos_per_s:.2f}", *served)
    figures.show(table)


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.styles", None, purpose, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=at_least_one, nargs="+", default=[512, 1024], help="longest sides (default: 512 1024)"
    )
    parser.add_argument("--count", type=at_least_one, default=7, help="photos of each size (default: %(default)s)")
    parser.add_argument("--style", type=Path, help="file of the style (default: the first bundled one)")
    parser.add_argument("--photo", type=Path, default=PHOTO, help="what is stylized (default: an example)")
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--served", action="store_true", help="also through a server")
    figures.add_option(parser)
    options = parser.parse_args()
    spin_briefly()
    torch.set_num_threads(options.threads)
    data = (options.style or bundled_styles()[0].path).read_bytes()
    style = LoadedStyle.of(load_style(data))
    photo = decode(options.photo.read_bytes())
    with _server(data, options.threads) if options.served else nullcontext() as serve:
        rows = [measure(style, fit(photo, size, enlarge=True), options.count, serve) for size in options.sizes]
    print_table(rows)
    figures.write(options.json, {"sizes": [asdict(row) for row in rows]}, threads=options.threads)


if __name__ == "__main__":
    main()
