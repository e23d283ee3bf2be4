"""Memory and time of a result at the photo's own size: its pixels fetched from a file, drawn in tiles, written as PNG.

Examples
--------
    python -m benchmarks.render                        # 2, 12 and 24 megapixels: about three minutes on two cores
    python -m benchmarks.render --megapixels 64 --json render.json

Each size is measured in a process of its own, which does what the optimizer of a server does after the last step. The
memory is the peak of the process over what it has at that moment, pages of the mapped photo included.
"""

from __future__ import annotations

import argparse
import io
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from clipstyler_server.spool import create, write_pixels
from PIL import Image
from rich.table import Table

import clipstyler
from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.step import PHOTO
from clipstyler.acceleration import OFF
from clipstyler.allocator import return_unused_memory
from clipstyler.events import Optimized, Rendering, Result
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import Picture, decode_fitted, encode_into
from clipstyler.openmp import spin_briefly
from clipstyler.optimization import optimize
from clipstyler.original import Original
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec

MIB = 2**20
_STEPS = 2


@dataclass(frozen=True)
class Row:
    """One line of the table: a size, the memory of drawing and encoding, and the seconds of each phase."""

    width: int
    height: int
    tiles: int
    longest_tile_s: float
    decode_s: float
    render_s: float
    encode_s: float
    peak_mib: float
    png_mib: float


def enlarged(photo: Path, megapixels: float) -> bytes:
    """Return a photo as a JPEG of so many megapixels, 3 by 2."""
    height = round(math.sqrt(megapixels * 1e6 * 2 / 3))
    buffer = io.BytesIO()
    size = (round(height * 1.5), height)
    Image.open(photo).convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def measure(photo: Path, megapixels: float, size: int, accelerations: str) -> Row:
    """Measure one size in this process, which should have done nothing else."""
    spin_briefly()
    data = enlarged(photo, megapixels)
    encoders = clipstyler.load_encoders("pocket", accelerations=accelerations)
    request = SpecRequest("fire", options={"size": size, "steps": _STEPS, "seed": 0})
    spec = resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())
    full = Original.of_file(data, spec.config)
    with tempfile.TemporaryDirectory() as directory:
        begun = time.perf_counter()
        pixels = write_pixels(full.load(), Path(directory) / "photo")
        decode_s = time.perf_counter() - begun
        original = Original(full.width, full.height, pixels.load)
        picture = decode_fitted(data, size)
        events = optimize(picture, spec, encoders, original=original)
        for event in events:
            if isinstance(event, Optimized):
                break
        return_unused_memory()
        with peak_bytes() as peak:
            result, times = drawn(events)
            begun = time.perf_counter()
            with create(Path(directory) / "result") as file:
                encode_into(file, result.image, ImageFormat.PNG)
            encode_s = time.perf_counter() - begun
        png_bytes = (Path(directory) / "result").stat().st_size
    return Row(
        width=full.width,
        height=full.height,
        tiles=len(times),
        longest_tile_s=max(times, default=0.0),
        decode_s=decode_s,
        render_s=result.timings.render_s,
        encode_s=encode_s,
        peak_mib=peak() / MIB,
        png_mib=png_bytes / MIB,
    )


def drawn(events: Iterator[object]) -> tuple[Result[Picture], list[float]]:
    """Follow the drawing to its end; returns the result and the seconds of each tile."""
    times, before = [], time.perf_counter()
    for event in events:
        if isinstance(event, Rendering):
            if event.tile:
                times.append(time.perf_counter() - before)
            before = time.perf_counter()
        elif isinstance(event, Result):
            return event, times
    raise RuntimeError("the events ended without a result")


@contextmanager
def peak_bytes() -> Iterator[Callable[[], int]]:
    """Measure by how much this process's resident memory grows at its peak during a block."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now the present amount
    before = _resident("VmRSS")
    found = 0
    yield lambda: found
    found = _resident("VmHWM") - before


def _resident(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def print_table(rows: list[Row], size: int) -> None:
    """Print the rows for people."""
    title = f"Results larger than {size} px, torch {torch.__version__}, {torch.get_num_threads()} threads"
    table = Table(title=title)
    for heading in ("photo", "tiles", "longest tile", "decode", "draw", "encode", "peak", "PNG"):
        table.add_column(heading, justify="right")
    for row in rows:
        seconds = (f"{value:.1f} s" for value in (row.longest_tile_s, row.decode_s, row.render_s, row.encode_s))
        sizes = (f"{value:.0f} MiB" for value in (row.peak_mib, row.png_mib))
        table.add_row(f"{row.width} x {row.height}", str(row.tiles), *seconds, *sizes)
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", nargs="+", type=float, default=[2, 12, 24], help="default: 2 12 24")
    parser.add_argument("--size", type=at_least_one, default=256, help="of the optimization; default: 256")
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--accelerations", default=OFF, help="default: off")
    figures.add_option(parser)
    arguments = parser.parse_args()
    work = partial(measure, arguments.photo, size=arguments.size, accelerations=arguments.accelerations)
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in pool.imap(work, arguments.megapixels):
            rows.append(row)
            figures.write(arguments.json, {"rows": [asdict(row) for row in rows]}, torch.get_num_threads())
            print(f"{row.width} x {row.height}: {row.peak_mib:.0f} MiB, {row.render_s:.1f} s", flush=True)
    print_table(rows, arguments.size)


if __name__ == "__main__":
    main()
