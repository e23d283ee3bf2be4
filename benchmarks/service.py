"""A draft through a server beside the same draft by the library alone: how many times as long it takes.

Examples
--------
    python -m benchmarks.service                            # some five minutes on two cores
    python -m benchmarks.service --starts 4 --size 128 --steps 60 --json service.json

The library runs in a process of its own that is as warm as the server's optimizer: the same threads, priority and
accelerations (none), encoders loaded, texts and photo cached. Both decode the photo and encode previews and result; the
server has no evaluator, because the library measures no quality. They take turns, and the first pair does not count.
Every process has a speed of its own, a tenth more or less, so that both are started several times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from clipstyler_client import Client, PreviewOptions, StylizeOptions
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.serving import serving
from clipstyler.config import PRESETS, Preset

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
TEXT = "fire"
PREVIEW_EVERY = 10
MOST_TIMES = 1.05
"""How many times as long a job may take through the server."""
_CACHE_BYTES = 2**26
_DRAFT = PRESETS[Preset.DRAFT]


@dataclass(frozen=True)
class Pair:
    """Seconds of one job each way."""

    library_s: float
    service_s: float
    ratio: float


def work(connection: Connection[Any, Any], threads: int) -> None:
    """Answer each dictionary of options with the bytes of a result; runs in a process of its own."""
    from clipstyler.openmp import spin_briefly

    spin_briefly()  # before PyTorch is imported
    import torch

    import clipstyler
    from clipstyler.evaluation.direction_cache import DirectionCache
    from clipstyler.events import Preview, Result
    from clipstyler.imaging import encoded, shrink
    from clipstyler.photo_cache import PhotoCache

    torch.set_num_threads(threads)
    encoders = clipstyler.load_encoders("pocket")
    directions, photos = DirectionCache(_CACHE_BYTES), PhotoCache(_CACHE_BYTES)
    while (options := connection.recv()) is not None:
        run = clipstyler.stylize(
            PHOTO.read_bytes(),
            TEXT,
            encoders=encoders,
            preview_every=PREVIEW_EVERY,
            directions=directions,
            photos=photos,
            **options,
        )
        for event in run:
            if isinstance(event, Preview):
                encoded(shrink(event.image, run.spec.previews.max_size), run.spec.previews.format)
            if isinstance(event, Result):
                connection.send(encoded(event.image, run.spec.result_format).data)


@contextmanager
def library(threads: int) -> Iterator[Connection[Any, Any]]:
    """Run `work` in a process until the block ends; yields the connection to it."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, threads), daemon=True)
    process.start()
    try:
        yield here
    finally:
        here.send(None)
        process.join()


def measure(target: str, worker: Connection[Any, Any], options: StylizeOptions) -> Pair:
    """Run one job each way.

    Raises
    ------
    ValueError
        The two results differ: not the same work was done.
    """
    begun = time.perf_counter()
    worker.send(options)
    alone = worker.recv()
    library_s = time.perf_counter() - begun
    begun = time.perf_counter()
    with Client(target) as client:
        previews = PreviewOptions(every_steps=PREVIEW_EVERY, max_size=256)
        served = client.stylize(PHOTO.read_bytes(), TEXT, previews=previews, **options).result()
    service_s = time.perf_counter() - begun
    if served.image != alone:
        raise ValueError("the server's result is not the library's: both must compute alike to be compared")
    return Pair(library_s, service_s, service_s / library_s)


def print_table(pairs: list[Pair]) -> None:
    """Print the pairs and the median of their ratios, in red if it misses the target."""
    table = Table(title="A draft of `pocket` through a server, beside the library alone")
    for heading in ("library", "service", "times as long"):
        table.add_column(heading, justify="right")
    for pair in pairs:
        table.add_row(f"{pair.library_s:.3f} s", f"{pair.service_s:.3f} s", f"{pair.ratio:.3f}")
    figures.show(table)
    ratio = median_ratio(pairs)
    shown = f"{ratio:.3f}" if ratio <= MOST_TIMES else f"[red]{ratio:.3f}[/red]"
    figures.show(f"median {shown}, at most {MOST_TIMES} is the aim")


def median_ratio(pairs: list[Pair]) -> float:
    """Return the median of the ratios."""
    return statistics.median(pair.ratio for pair in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=at_least_one, default=3, help="measured pairs of a start, after one more; default: 3"
    )
    parser.add_argument(
        "--starts", type=at_least_one, default=2, help="of both processes, each with its pairs; default: 2"
    )
    parser.add_argument(
        "--size", type=at_least_one, default=_DRAFT.size, help=f"longest side in pixels; default: {_DRAFT.size}"
    )
    parser.add_argument("--steps", type=at_least_one, default=_DRAFT.steps, help=f"default: {_DRAFT.steps}")
    parser.add_argument("--threads", type=at_least_one, default=os.cpu_count(), help="default: every core")
    figures.add_option(parser)
    arguments = parser.parse_args()
    options = StylizeOptions(size=arguments.size, steps=arguments.steps, seed=1)
    settings = {"threads": arguments.threads, "nice": 0, "evaluator": False, "accelerations": "off"}
    pairs: list[Pair] = []
    for _ in range(arguments.starts):
        with serving(**settings) as (target, _), library(arguments.threads) as worker:
            pairs += [measure(target, worker, options) for _ in range(1 + arguments.pairs)][1:]
    print_table(pairs)
    measured = {"pairs": [asdict(pair) for pair in pairs], "median_ratio": median_ratio(pairs)}
    figures.write(arguments.json, measured, arguments.threads)


if __name__ == "__main__":
    main()
