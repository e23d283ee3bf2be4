"""Seconds of a photo in a style on PyTorch and on ONNX Runtime: the same drawing in turns, in one process.

All take the statistics of a thumbnail of 256 px and draw a photo with them in one piece, which is what
`clipstyler.style_applying` does with a photo of up to 512 px. Decoding, noise and encoding are left out: they are the
same either way. The ways are

* StyleNet itself: one pass over the thumbnail, and one over the photo with the statistics as part of the weights,
* `clipstyler.fixed_net`, which the program uses,
* ONNX Runtime with the exported file, which has both passes in one graph,
* ONNX Runtime with two graphs: one for the statistics, kept for the style; one whose weights they are folded into,
  opened for each photo, which counts.

Examples
--------
    python -m benchmarks.style_export                     # 256, 512 and 672 px: a minute on two cores
    python -m benchmarks.style_export --sizes 512 --json style-export.json
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor, nn

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.step import PHOTO
from clipstyler.encoders.onnx.export import OPSET
from clipstyler.imaging import Picture, decode, fit
from clipstyler.interleaved_norm import NORM_EPSILON
from clipstyler.openmp import spin_briefly
from clipstyler.style import load_style
from clipstyler.style_applying import LoadedStyle
from clipstyler.style_export import drawn, export_style
from clipstyler.style_library import bundled_styles
from clipstyler.stylenet import StyleNet

Floats = NDArray[np.float32]
Draw = Callable[[Floats, Floats], Floats]
Weights = Mapping[str, Tensor]

_THUMBNAIL = 256
_SIDES = 64, 96  # of what is traced
_BLOCKS = ("first", "down.0", "down.1", "down.2", "bottom", "up.0", "up.1", "up.2", "last")


@dataclass(frozen=True)
class Row:
    """One line of the table: a size, the least seconds of each way, and how much results differ at most."""

    width: int
    height: int
    stylenet_s: float
    fixed_net_s: float
    one_graph_s: float
    two_graphs_s: float
    difference: float

    @property
    def gain(self) -> float:
        """How many times as fast `fixed_net` is as StyleNet."""
        return self.stylenet_s / self.fixed_net_s

    @property
    def onnxruntime_gain(self) -> float:
        """How many times as fast the better way of ONNX Runtime is as `fixed_net`."""
        return self.fixed_net_s / min(self.one_graph_s, self.two_graphs_s)


def measure(ways: Mapping[str, Draw], photo: Picture, count: int) -> Row:
    """Draw a photo so many times in all ways in turns, after one time that does not count.

    The fastest one of each counts: what else runs on the machine makes others slower.
    """
    inputs = _input(photo), _input(fit(photo, _THUMBNAIL))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Floats] = {}
    for _ in range(count + 1):
        for name, draw in ways.items():
            begun = time.perf_counter()
            results[name] = draw(*inputs)
            seconds[name].append(time.perf_counter() - begun)
    fastest = {f"{name}_s": min(times[1:]) for name, times in seconds.items()}
    expected = results["fixed_net"]
    difference = max(float(np.abs(result - expected).max()) for result in results.values())
    return Row(photo.width, photo.height, **fastest, difference=difference)


def _input(photo: Picture) -> Floats:
    return np.ascontiguousarray(photo.rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


class _RecordingNorm(nn.Module):
    """Instance normalization and ReLU; keeps variance and mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        centered = x - mean
        variance = centered.square().mean(dim=(2, 3), keepdim=True)
        self.statistics = variance.flatten(), mean.flatten()
        return (centered * (variance + NORM_EPSILON).rsqrt()).relu()


class _Statistics(nn.Module):
    """StyleNet on a thumbnail: returns its picture, and the statistics of each normalization."""

    def __init__(self, net: StyleNet) -> None:
        super().__init__()
        self._net, self._norms = _with_norms(net, _RecordingNorm)

    def forward(self, thumbnail: Tensor) -> list[Tensor]:
        picture = self._net(thumbnail)
        return [picture, *(value for norm in self._norms for value in norm.statistics)]


class _Plain(nn.Module):
    """StyleNet without normalizations."""

    def __init__(self, net: StyleNet) -> None:
        super().__init__()
        self.net, _ = _with_norms(net, partial(nn.ReLU, inplace=True))

    def forward(self, photo: Tensor) -> Tensor:
        drawing: Tensor = self.net(photo)
        return drawing


def _with_norms(net: StyleNet, make: Callable[[], nn.Module]) -> tuple[StyleNet, list[Any]]:
    """Return a copy of a network with other normalizations, and these in the order in which they run."""
    made = copy.deepcopy(net)
    norms: list[Any] = []
    for name in _BLOCKS:
        block: Any = made.get_submodule(name)
        block.body[1], block.body[3] = pair = make(), make()
        norms += pair
    return made, norms


def _folded(net: StyleNet, found: list[Tensor]) -> Weights:
    """Return the weights of `_Plain` that statistics are part of."""
    convolutions = [f"{block}.body.{index}" for block in _BLOCKS for index in (0, 2)]
    folded = {}
    for name, variance, mean in zip(convolutions, found[::2], found[1::2], strict=True):
        conv: Any = net.get_submodule(name)
        scale = (variance + NORM_EPSILON).rsqrt()
        folded[f"net.{name}.weight"] = conv.weight * scale[:, None, None, None]
        folded[f"net.{name}.bias"] = (conv.bias - mean) * scale
    return folded


class _ByStyleNet:
    """Draws with StyleNet itself. Its statistics are found in the first call for a thumbnail, which does not count."""

    def __init__(self, net: StyleNet) -> None:
        self._net = net
        self._statistics = _Statistics(net)
        self._plain = _Plain(net)
        self._seen: Floats | None = None

    @torch.no_grad()
    def __call__(self, photo: Floats, thumbnail: Floats) -> Floats:
        if self._seen is not thumbnail:
            found = self._statistics(torch.from_numpy(thumbnail))[1:]
            self._plain.load_state_dict(_folded(self._net, found), strict=False)
            self._seen = thumbnail
        self._net(torch.from_numpy(thumbnail))
        return np.asarray(self._plain(torch.from_numpy(photo)))


def _by_one_graph(session: ort.InferenceSession, photo: Floats, thumbnail: Floats) -> Floats:
    (result,) = session.run(None, {"photo": photo, "thumbnail": thumbnail})
    return np.asarray(result)


class _TwoGraphs:
    """Draws with ONNX Runtime: the graph of the statistics is kept, that of the photo is made anew."""

    def __init__(self, net: StyleNet, open_session: Callable[[bytes], ort.InferenceSession]) -> None:
        self._net = net
        self._open = open_session
        self._statistics = open_session(_traced(_Statistics(net)).SerializeToString())
        self._plain = _traced(_Plain(net))
        self._initializers = {value.name: value for value in self._plain.graph.initializer}

    @torch.no_grad()
    def __call__(self, photo: Floats, thumbnail: Floats) -> Floats:
        found = self._statistics.run(None, {"image": thumbnail})[1:]
        for name, weight in _folded(self._net, [torch.from_numpy(value) for value in found]).items():
            self._initializers[name].raw_data = weight.contiguous().numpy().tobytes()
        (result,) = self._open(self._plain.SerializeToString()).run(None, {"image": photo})
        return np.asarray(result)


def _traced(module: nn.Module) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module.eval(),
            (torch.rand(1, 3, *_SIDES),),
            path,
            input_names=["image"],
            dynamic_axes={"image": {2: "height", 3: "width"}},
            opset_version=OPSET,
            dynamo=False,
        )
        return onnx.load(path)


def _session(threads: int, spinning: bool, model: bytes) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _ways(threads: int, spinning: bool) -> dict[str, Draw]:
    """Return every way to draw with the first bundled style, by the names of the columns."""
    bundled = bundled_styles()[0]
    style = load_style(bundled.data())
    loaded = LoadedStyle.of(style)
    open_session = partial(_session, threads, spinning)
    return {
        "stylenet": _ByStyleNet(loaded.net),
        "fixed_net": partial(drawn, loaded),
        "one_graph": partial(_by_one_graph, open_session(export_style(style, bundled.digest))),
        "two_graphs": _TwoGraphs(loaded.net, open_session),
    }


def print_table(rows: list[Row]) -> None:
    """Print the rows for people."""
    ways = ("StyleNet", "fixed_net", "one graph", "two graphs")
    table = Table("size", *ways, "fixed_net gains", "ONNX Runtime gains", "difference")
    for row in rows:
        seconds = (row.stylenet_s, row.fixed_net_s, row.one_graph_s, row.two_graphs_s)
        ratios = f"{row.gain:.2f}", f"{row.onnxruntime_gain:.2f}", f"{row.difference:.1e}"
        table.add_row(f"{row.width} x {row.height}", *(f"{value:.3f} s" for value in seconds), *ratios)
    figures.show(table)


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
    parser.add_argument("--sizes", type=at_least_one, nargs="+", default=[256, 512, 672], help="sides, multiples of 8")
    parser.add_argument("--count", type=at_least_one, default=9, help="photos of each size (default: %(default)s)")
    parser.add_argument("--threads", type=at_least_one, default=2, help="of both (default: %(default)s)")
    parser.add_argument("--spinning", action="store_true", help="waiting threads of ONNX Runtime spin")
    figures.add_option(parser)
    options = parser.parse_args()
    spin_briefly()
    torch.set_num_threads(options.threads)
    ways = _ways(options.threads, options.spinning)
    photo = decode(Path(PHOTO).read_bytes())
    rows = [measure(ways, fit(photo, size, enlarge=True), options.count) for size in options.sizes]
    print_table(rows)
    figures.write(options.json, {"sizes": [asdict(row) for row in rows]}, threads=options.threads)


if __name__ == "__main__":
    main()
