"""Seconds of a style on ONNX Runtime beside PyTorch, at several sizes: the same drawing, in turns in one process.

Both take the statistics of a thumbnail of 256 px and draw a photo with them, as `clipstyler.style_applying` does with
each tile. Decoding, noise, levels and encoding are left out: they are the same either way.

Examples
--------
    python -m benchmarks.style_export                     # 256, 512 and 1024 px: about a minute on two cores
    python -m benchmarks.style_export --sizes 512 --json style-export.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.step import PHOTO
from clipstyler.imaging import Picture, decode, fit
from clipstyler.openmp import spin_briefly
from clipstyler.style import load_style
from clipstyler.style_applying import LoadedStyle
from clipstyler.style_export import drawn, export_style
from clipstyler.style_library import bundled_styles

Floats = NDArray[np.float32]

_THUMBNAIL = 256


@dataclass(frozen=True)
class Row:
    """One line of the table: a size, the median seconds of both, and how much their results differ at most.

    Attributes
    ----------
    pytorch, onnxruntime
        Seconds on the clock.
    pytorch_cpu, onnxruntime_cpu
        Seconds of processor time, which other programs on the machine change less.
    difference
        Of values in [0, 1].
    """

    width: int
    height: int
    pytorch: float
    onnxruntime: float
    pytorch_cpu: float
    onnxruntime_cpu: float
    difference: float


def measure(pytorch: Callable[..., Floats], runtime: Callable[..., Floats], photo: Picture, count: int) -> Row:
    """Draw a photo so many times with both in turns, after one time that does not count."""
    inputs = _input(photo), _input(fit(photo, _THUMBNAIL))
    seconds: list[list[float]] = [[], [], [], []]
    for _ in range(count + 1):
        results = []
        for number, draw in enumerate((pytorch, runtime)):
            begun, begun_cpu = time.perf_counter(), time.process_time()
            results.append(draw(*inputs))
            seconds[number].append(time.perf_counter() - begun)
            seconds[number + 2].append(time.process_time() - begun_cpu)
    difference = float(np.abs(results[0] - results[1]).max())
    torch_s, runtime_s, torch_cpu_s, runtime_cpu_s = (statistics.median(times[1:]) for times in seconds)
    return Row(photo.width, photo.height, torch_s, runtime_s, torch_cpu_s, runtime_cpu_s, difference)


def _input(photo: Picture) -> Floats:
    return np.ascontiguousarray(photo.rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _run(session: ort.InferenceSession, photo: Floats, thumbnail: Floats) -> Floats:
    (result,) = session.run(None, {"photo": photo, "thumbnail": thumbnail})
    return np.asarray(result)


def _session(model: bytes, threads: int, spinning: bool) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def main() -> None:
    """Run the command line."""
    purpose, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.style_export",
        None,
        purpose,
        examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="sides, multiples of 8")
    parser.add_argument("--count", type=int, default=9, help="photos of each size (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: %(default)s)")
    parser.add_argument("--no-spinning", action="store_true", help="waiting threads of ONNX Runtime sleep at once")
    figures.add_option(parser)
    options = parser.parse_args()
    spin_briefly()
    torch.set_num_threads(options.threads)
    bundled = bundled_styles()[0]
    style = load_style(bundled.data())
    session = _session(export_style(style, bundled.digest), options.threads, not options.no_spinning)
    photo = decode(Path(PHOTO).read_bytes())
    runners = partial(drawn, LoadedStyle.of(style)), partial(_run, session)
    rows = [measure(*runners, fit(photo, size, enlarge=True), options.count) for size in options.sizes]
    table = Table("size", "PyTorch", "ONNX Runtime", "times faster", "of processor time", "difference")
    for row in rows:
        seconds = (f"{row.pytorch:.3f} s", f"{row.onnxruntime:.3f} s", f"{row.pytorch / row.onnxruntime:.2f}")
        cpu = f"{row.pytorch_cpu / row.onnxruntime_cpu:.2f}"
        table.add_row(f"{row.width} x {row.height}", *seconds, cpu, f"{row.difference:.1e}")
    Console().print(table)
    figures.write(options.json, {"sizes": [asdict(row) for row in rows]}, threads=options.threads)


if __name__ == "__main__":
    main()
