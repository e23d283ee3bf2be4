"""Images and texts per second: PyTorch eager beside ONNX Runtime, in turns in one run.

Examples
--------
    python -m benchmarks.encoders                                # both encoders, batches of 1, 8 and 64: some minutes
    python -m benchmarks.encoders --encoders pocket --batches 1  # a quick look
    python -m benchmarks.encoders --json encoders.json

`vit-b-32` is initialized at random: speed does not depend on the weights, and no download is needed. PyTorch runs the
encoders as the optimizer does, with the rewrites of `clipstyler.encoders.frozen_vit`, but without gradients. Both are
given sentences and square views: cutting texts into tokens is part of the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.step import median_seconds, random_vit_b_32
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.parity import check_parity
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.registry import load
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.prompts import fill_template, templates

LEAST_REPEATS, MOST_REPEATS = 3, 301
LEAST_AT_ONE = 1.3
"""How many times faster ONNX Runtime is wanted at batch 1; at larger batches it must not be slower."""


@dataclass(frozen=True)
class Row:
    """One line of the table: items per second on both paths, from medians of their durations."""

    encoders: str
    what: str
    batch: int
    pytorch_per_s: float
    onnx_per_s: float
    ratio: float


def measure(name: str, batches: list[int], seconds: float, threads: int, directory: Path) -> Iterator[Row]:
    """Measure one name at every batch, both paths in turns so that background load affects both alike."""
    encoders = load(str(random_vit_b_32(directory)) if name == "vit-b-32" else name)
    exported = directory / "onnx"  # a name may be a path
    export(encoders, exported)
    pytorch = TorchEncoders(encoders)
    onnx = OnnxEncoders(exported, SessionOptions(("cpu",), threads=threads))
    parity = check_parity(pytorch, onnx)
    if not parity.holds:
        raise RuntimeError(f"the export does not agree with PyTorch: {parity}")
    sentences = [fill_template(template, "fire") for template in templates("openai-imagenet")]
    for batch in batches:
        views = np.random.default_rng(0).random((batch, 3, onnx.image_size, onnx.image_size), np.float32)
        texts = sentences[:batch]
        pairs: dict[str, list[Callable[[], object]]] = {
            "images": [partial(path.encode_image, views) for path in (pytorch, onnx)],
            "texts": [partial(path.encode_text, texts) for path in (pytorch, onnx)],
        }
        for what, pair in pairs.items():
            # Small work is repeated until its median is steady.
            repeats = int(seconds / sum(median_seconds(pair, 1)))
            eager, runtime = median_seconds(pair, min(max(repeats, LEAST_REPEATS), MOST_REPEATS))
            yield Row(name, what, batch, batch / eager, batch / runtime, eager / runtime)


def print_table(rows: list[Row], threads: int) -> None:
    """Print the rows, with missed targets in red."""
    versions = f"torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, {threads} threads"
    table = Table(title=f"Encoding on the CPU, {versions}")
    for heading in ("encoders", "what", "batch", "PyTorch eager", "ONNX Runtime", "times faster"):
        table.add_column(heading, justify="left" if heading in {"encoders", "what"} else "right")
    for row in rows:
        missed = row.ratio < (LEAST_AT_ONE if row.batch == 1 else 1)
        table.add_row(
            row.encoders,
            row.what,
            str(row.batch),
            f"{row.pytorch_per_s:.1f} /s",
            f"{row.onnx_per_s:.1f} /s",
            f"[red]{row.ratio:.2f}[/red]" if missed else f"{row.ratio:.2f}",
        )
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["pocket", "vit-b-32"], help="default: pocket vit-b-32")
    parser.add_argument("--batches", nargs="+", type=at_least_one, default=[1, 8, 64], help="default: 1 8 64")
    parser.add_argument("--seconds", type=float, default=8, help="to spend on each line of the table; default: 8")
    parser.add_argument("--threads", type=at_least_one, default=1, help="of both; default: 1, as the evaluator")
    figures.add_option(parser)
    arguments = parser.parse_args()
    threads = arguments.threads
    torch.set_num_threads(threads)
    rows: list[Row] = []
    for name in arguments.encoders:
        with tempfile.TemporaryDirectory() as directory:
            for row in measure(name, arguments.batches, arguments.seconds, threads, Path(directory)):
                print(f"{row.encoders}, {row.what}, batch {row.batch}: {row.ratio:.2f}", file=sys.stderr)
                rows.append(row)
    print_table(rows, threads)
    figures.write(arguments.json, {"rows": [asdict(row) for row in rows]}, threads)


if __name__ == "__main__":
    main()
