"""Exported encoders on ONNX Runtime: NumPy in, NumPy out, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from clipstyler.encoders.description import TextConfidence
from clipstyler.encoders.inference import runtime_name
from clipstyler.encoders.onnx import manifest, preprocess, tokenizers
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.onnx.sessions import Opened, open_session

Floats = NDArray[np.float32]


class OnnxEncoders:
    """A CLIP and a content encoder from an export. Safe to be used by several threads at once.

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
    name
        Of the encoders.
    digest, content_digest
        SHA-256 of the weights that the CLIP and the content encoder were exported from.
    image_size, embedding_dim
        Side of the views in pixels, length of an embedding.
    precision
        "fp32" or "fp16".
    calibration
        What the numbers of these encoders mean.
    providers
        By tower, the providers that its session says it uses, first the one that computes: "tensorrt", "cuda", "cpu".
    skipped
        Why providers before the active one were not used, one sentence each.

    Raises
    ------
    BrokenExportError
        The export cannot be used.
    ProviderError
        The requested provider does not become active.
    """

    def __init__(self, directory: Path, options: SessionOptions | None = None) -> None:
        options = options or SessionOptions()
        self.manifest = manifest.read(directory)
        self.name = self.manifest.name
        self.digest = self.manifest.clip.digest
        self.content_digest = self.manifest.content.digest
        self.image_size = self.manifest.image_size
        self.embedding_dim = self.manifest.embedding_dim
        self.calibration = self.manifest.calibrated()
        self._threads = options.threads
        self._tokenize = tokenizers.load(self.manifest.tokenizer, directory)
        self._opened: dict[str, Opened] = {
            tower: open_session(directory, graph, options, self.manifest.precision)
            for tower, graph in self.manifest.graphs.items()
        }
        self.providers = {tower: opened.providers for tower, opened in self._opened.items()}
        self.skipped = tuple(dict.fromkeys(why for opened in self._opened.values() for why in opened.skipped))
        self.precision = "fp16" if options.half and self.provider == "tensorrt" else self.manifest.precision

    @property
    def provider(self) -> str:
        """The provider that computes embeddings of images."""
        return self.providers["image"][0]

    @property
    def backend(self) -> str:
        """The execution backend: "onnx-cpu", "onnx-cuda" or "onnx-tensorrt"."""
        return f"onnx-{self.provider}"

    @property
    def runtime(self) -> str:
        """The backend with everything else that determines the bits: versions, threads, and the graph of the texts."""
        graph = self.manifest.graphs["text"].sha256[:12]
        return runtime_name(f"onnx-{self.providers['text'][0]}", ort.__version__, f"{self._threads} threads", graph)

    def confidence(self, text: str) -> TextConfidence | None:  # noqa: ARG002 - exports cannot judge that
        """Return None: exports do not include the part that judges texts."""
        return None

    def views(self, images: Floats) -> Floats:
        """Resize images, float32 (B, 3, H, W) in [0, 1], to the square views that `encode_image` takes."""
        return preprocess.views(images, self.image_size)

    def encode_image(self, views: Floats) -> Floats:
        """Embed views: float32 (B, 3, image_size, image_size) in [0, 1] to (B, D), not normalized."""
        return self._run("image", [views])[0]

    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences: float32 (len(sentences), D), not normalized."""
        return self._run("text", self.tokens(sentences))[0]

    def tokens(self, sentences: Sequence[str]) -> tuple[NDArray[Any], ...]:
        """Return the text tower's inputs, one row per sentence."""
        return self._tokenize(sentences)

    def features(self, images: Floats) -> list[Floats]:
        """Content features: float32 (B, 3, H, W) in [0, 1] to one (B, C, h, w) per layer."""
        return self._run("content", [images])

    def session(self, tower: str) -> ort.InferenceSession:
        """The session of a tower: "image", "text" or "content"."""
        return self._opened[tower].session

    def _run(self, tower: str, inputs: Sequence[NDArray[Any]]) -> list[Floats]:
        names = self.manifest.graphs[tower].inputs
        fed = {name: np.ascontiguousarray(part) for name, part in zip(names, inputs, strict=True)}
        outputs: list[Floats] = self.session(tower).run(None, fed)
        return outputs
