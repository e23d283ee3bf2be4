"""Exported encoders at work: NumPy in, NumPy out, and no PyTorch in the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from clipstyler.config import Calibration
from clipstyler.encoders.onnx.manifest import BrokenExportError, Manifest, read
from clipstyler.encoders.onnx.providers import SessionOptions, open_session

Floats = NDArray[np.float32]
Tokenize = Callable[[Sequence[str]], tuple[NDArray[Any], ...]]


class OnnxEncoders:
    """A CLIP and a content encoder from an export.

    Parameters
    ----------
    directory
        The export.
    options
        Providers, threads, caches.

    Attributes
    ----------
    manifest
        What was exported.
    calibration
        What the numbers of these encoders mean.
    provider
        The one that is active: "tensorrt", "cuda" or "cpu".

    Raises
    ------
    BrokenExportError
        The export cannot be used.
    ProviderError
        No provider becomes active.
    """

    def __init__(self, directory: Path, options: SessionOptions | None = None) -> None:
        options = options or SessionOptions()
        self.manifest: Manifest = read(directory)
        self.calibration = Calibration(**self.manifest.calibration)
        self._tokenize = tokenizer(self.manifest.tokenizer)
        self._sessions: dict[str, ort.InferenceSession] = {}
        active = set()
        for name, graph in self.manifest.graphs.items():
            path, precision = directory / graph.file, self.manifest.precision
            session, provider = open_session(path, options, graph.sha256, graph.inputs, precision)
            self._sessions[name] = session
            active.add(provider)
        self.provider = min(active)

    @property
    def backend(self) -> str:
        """What computes, in a word: "onnx-cpu", "onnx-cuda", "onnx-tensorrt"."""
        return f"onnx-{self.provider}"

    def encode_image(self, views: Floats) -> Floats:
        """Embed views: float32 (B, 3, image_size, image_size) in [0, 1] to (B, D), not normalised."""
        return self._run("image", [views])[0]

    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences: float32 (len(sentences), D), not normalised."""
        return self._run("text", self._tokenize(sentences))[0]

    def features(self, images: Floats) -> list[Floats]:
        """Content features: float32 (B, 3, H, W) in [0, 1] to one (B, C, h, w) per layer."""
        return self._run("content", [images])

    def _run(self, name: str, inputs: Sequence[NDArray[Any]]) -> list[Floats]:
        names = self.manifest.graphs[name].inputs
        fed = {key: np.ascontiguousarray(part) for key, part in zip(names, inputs, strict=True)}
        outputs: list[Floats] = self._sessions[name].run(None, fed)
        return outputs


def tokenizer(name: str) -> Tokenize:
    """What cuts sentences into a text tower's inputs, by the name in a manifest.

    Raises
    ------
    BrokenExportError
        The name is unknown.
    """
    from clipstyler.pocket import tokenizer as pocket  # noqa: PLC0415 - one of several

    if name == pocket.NAME:
        return pocket.tokenize
    kind, _, length = name.partition(":")
    if kind != "clip-bpe" or not length.isdecimal():
        raise BrokenExportError(f"tokenizer {name!r} is unknown to this version: export again")
    import open_clip  # noqa: PLC0415 - it brings PyTorch, and CLIP's own merges are nowhere else

    cut = open_clip.SimpleTokenizer(context_length=int(length))
    return lambda sentences: (cut(list(sentences)).numpy(),)
