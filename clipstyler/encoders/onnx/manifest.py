"""The description of an export, and the check that its files are unchanged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipstyler.config import Calibration

FORMAT = 1
"""Version of the manifest's form."""
SMALLEST_OPSET = 18
FILE = "manifest.json"
PREPROCESSING = (
    "RGB in [0, 1]; the whole image squashed to image_size x image_size by a bilinear, antialiased resize "
    "(clipstyler.encoders.onnx.preprocess.views); mean and deviation are applied inside the graph"
)


class BrokenExportError(ValueError):
    """An export cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Source:
    """The model that a tower was exported from: its name and the SHA-256 of its weights."""

    name: str
    digest: str


@dataclass(frozen=True)
class Graph:
    """One ONNX file: its SHA-256, and shapes by name, with a name for every free dimension."""

    file: str
    sha256: str
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]


@dataclass(frozen=True)
class Tokenizer:
    """How sentences become the text tower's inputs.

    Attributes
    ----------
    kind
        "clip-bpe", or the name that `pocket` gives its own.
    context_length
        Tokens per sentence; 0 if the length is free.
    file, sha256
        Merges and vocabulary; empty if there are none.
    """

    kind: str
    context_length: int = 0
    file: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """What was exported, from which models, and the inputs of its graphs.

    Attributes
    ----------
    name, description, calibration
        Of the encoder set, from the registry.
    clip, content
        The source models; their digests identify what the export computes.
    precision
        "fp32" or "fp16": of the arithmetic; inputs and outputs are float32 always.
    graphs
        By tower: "image", "text", "content".
    versions
        Of the libraries that wrote it.
    """

    name: str
    description: str
    clip: Source
    content: Source
    precision: str
    opset: int
    image_size: int
    embedding_dim: int
    tokenizer: Tokenizer
    calibration: dict[str, Any]
    graphs: dict[str, Graph]
    versions: dict[str, str]
    preprocessing: str = PREPROCESSING
    format: int = FORMAT

    def write(self, directory: Path) -> None:
        """Write the manifest, as the last file, so that a directory that has one is complete."""
        (directory / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    def calibrated(self) -> Calibration:
        """Return the calibration.

        Raises
        ------
        ConfigError, TypeError
            It is none, or that of another version.
        """
        return Calibration(**self.calibration)


def read(directory: Path) -> Manifest:
    """Read the manifest of an export and check its files against it.

    Raises
    ------
    BrokenExportError
        It is missing or malformed, a file is missing or has another digest, or the opset is too old.
    """
    path = directory / FILE
    try:
        manifest = _parse(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise BrokenExportError(f"{path} is missing: write it with `clipstyler models export`") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenExportError(f"{path} is no manifest of an export: {error}") from error
    if manifest.format != FORMAT:
        raise BrokenExportError(f"{path} has format {manifest.format}, this version reads {FORMAT}: export again")
    if manifest.opset < SMALLEST_OPSET:
        raise BrokenExportError(
            f"{path} says opset {manifest.opset}, {SMALLEST_OPSET} or newer is needed: export again"
        )
    for graph in manifest.graphs.values():
        check_digest(directory / graph.file, graph.sha256)
    if manifest.tokenizer.file:
        check_digest(directory / manifest.tokenizer.file, manifest.tokenizer.sha256)
    return manifest


def check_digest(path: Path, expected: str) -> None:
    """Raise `BrokenExportError` unless a file has the expected SHA-256."""
    if not path.is_file():
        raise BrokenExportError(f"{path} is missing: export again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise BrokenExportError(
            f"{path}: digest mismatch: its SHA-256 is {found}, the manifest says {expected}; "
            "it was changed or cut off: export again"
        )


def _parse(fields: dict[str, Any]) -> Manifest:
    graphs = {name: Graph(**graph) for name, graph in fields.pop("graphs").items()}
    if set(graphs) != {"image", "text", "content"}:
        raise ValueError(f"it has the graphs {sorted(graphs)}, not content, image and text")
    clip, content = Source(**fields.pop("clip")), Source(**fields.pop("content"))
    tokenizer = Tokenizer(**fields.pop("tokenizer"))
    manifest = Manifest(clip=clip, content=content, tokenizer=tokenizer, graphs=graphs, **fields)
    manifest.calibrated()
    return manifest
