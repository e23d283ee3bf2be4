"""Exports frozen PyTorch encoders as ONNX files with a manifest. The only module that needs both PyTorch and `onnx`."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from clipstyler.config import ConfigError
from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError, Exportable, Towers, file_digest
from clipstyler.encoders.onnx import tokenizers
from clipstyler.encoders.onnx.manifest import FILE, SMALLEST_OPSET, Graph, Manifest, Source, Tokenizer

OPSET = 18
LARGEST_OPSET = 20
"""Newest that the exporter of PyTorch's TorchScript writes."""
_SENTENCES = ("a photo", "a sketch with black pencil")
# Traced with two of everything: a batch of one would be treated as a constant.
_BATCH = 2
_CONTENT_SIDE = 32

Inputs = dict[str, tuple[Tensor, dict[int, str]]]
"""Example inputs by name, each with the names of its free axes."""


class _Content(nn.Module):
    """The content encoder as a graph with one output per layer."""

    def __init__(self, encoders: EncoderSet) -> None:
        super().__init__()
        self.content = encoders.content

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.content.features(images))


class _Half(nn.Module):
    """A copy of a module in half precision, with single precision at both ends.

    ONNX Runtime's own converter produces graphs that its sessions reject.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = self.module(*(part.half() if part.is_floating_point() else part for part in inputs))
        return outputs.float() if isinstance(outputs, Tensor) else tuple(part.float() for part in outputs)


def export(encoders: EncoderSet, directory: Path, *, opset: int = OPSET, half: bool = False) -> Manifest:
    """Write encoders as ONNX files with a manifest. `clipstyler.encoders.onnx.parity` then checks whether they agree.

    Parameters
    ----------
    encoders
        On the CPU.
    directory
        Created if missing, with its parents. An older export in it is replaced atomically.
    opset
        18 to 20.
    half
        Weights and arithmetic in half precision; inputs and outputs stay float32.

    Raises
    ------
    ConfigError
        The opset is out of range, or the directory holds something else.
    EncoderUnavailableError
        The encoders have no graphs to export.
    """
    if not SMALLEST_OPSET <= opset <= LARGEST_OPSET:
        raise ConfigError("opset", f"must be {SMALLEST_OPSET} to {LARGEST_OPSET}, got {opset}")
    if not isinstance(encoders.clip, Exportable):
        raise EncoderUnavailableError(f"{encoders.name}: these encoders have no graphs to export")
    check_directory(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: a reader finds the old export or the new one, never a mixture.
    with tempfile.TemporaryDirectory(prefix=_scratch_prefix(directory), dir=directory.parent) as scratch:
        written = Path(scratch) / "export"
        written.mkdir()
        manifest = _write(encoders, encoders.clip.towers(), written, opset, half)
        if directory.exists():
            shutil.move(directory, Path(scratch) / "old")
        written.rename(directory)
    return manifest


def delete_abandoned(directory: Path) -> None:
    """Delete what exports into a directory left beside it because they were killed; none may be under way."""
    for scratch in directory.parent.glob(f"{_scratch_prefix(directory)}*"):
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch_prefix(directory: Path) -> str:
    """Return how names of scratch directories begin: others for each directory, and short for a long name."""
    return f".clipstyler-{hashlib.sha256(os.fsencode(directory.name)).hexdigest()[:16]}-"


def check_directory(directory: Path) -> None:
    """Check that a directory is missing, empty or an older export.

    Raises
    ------
    ConfigError
        It holds something else.
    """
    if directory.exists() and not (directory / FILE).is_file() and any(directory.iterdir()):
        raise ConfigError("out", f"{directory} is neither empty nor an export: name another directory")


def _write(encoders: EncoderSet, towers: Towers, directory: Path, opset: int, half: bool) -> Manifest:
    side = encoders.clip.image_size
    tokens = towers.tokenize(_SENTENCES)
    tokenizer = _tokenizer(towers, tokens[0].shape[1], directory)
    token_axes = {0: "batch"} if tokenizer.context_length else {0: "batch", 1: "length"}
    layers = len(encoders.content.features(torch.rand(1, 3, _CONTENT_SIDE, _CONTENT_SIDE)))
    named: dict[str, tuple[nn.Module, Inputs, list[str]]] = {
        "image": (towers.image, {"views": (torch.rand(_BATCH, 3, side, side), {0: "batch"})}, ["embeddings"]),
        "text": (
            towers.text,
            {name: (part, token_axes) for name, part in zip(towers.text_inputs, tokens, strict=True)},
            ["embeddings"],
        ),
        "content": (
            _Content(encoders),
            {"images": (torch.rand(_BATCH, 3, _CONTENT_SIDE, _CONTENT_SIDE), {0: "batch", 2: "height", 3: "width"})},
            [f"features_{i}" for i in range(layers)],
        ),
    }
    graphs = {}
    for name, (module, inputs, outputs) in named.items():
        path = directory / f"{name}.onnx"
        _trace(_Half(module) if half else module, inputs, outputs, opset, path)
        graphs[name] = _describe(path)
    manifest = Manifest(
        name=encoders.name,
        description=encoders.description,
        clip=Source(encoders.clip.name, encoders.clip.digest),
        content=Source(encoders.content.name, encoders.content.digest),
        precision="fp16" if half else "fp32",
        opset=opset,
        image_size=side,
        embedding_dim=int(encoders.clip.encode_text(_SENTENCES[:1]).shape[1]),
        tokenizer=tokenizer,
        calibration=asdict(encoders.calibration),
        graphs=graphs,
        versions={name: version(name) for name in ("clipstyler", "torch", "onnx")},
    )
    manifest.write(directory)
    return manifest


def _tokenizer(towers: Towers, length: int, directory: Path) -> Tokenizer:
    if towers.tokenizer != tokenizers.CLIP_BPE:
        return Tokenizer(towers.tokenizer)
    file = tokenizers.write_clip_bpe(directory)
    return Tokenizer(towers.tokenizer, length, file.name, file_digest(file))


def _trace(module: nn.Module, inputs: Inputs, outputs: Sequence[str], opset: int, path: Path) -> None:
    free = next(iter(inputs.values()))[1]
    # Feature maps have free sides; embeddings only have a batch.
    free_out = {0: "batch", 2: "map_height", 3: "map_width"} if 2 in free else {0: "batch"}
    axes = {name: names for name, (_, names) in inputs.items()} | dict.fromkeys(outputs, free_out)
    # The exporter restores the mode that it finds, in all submodules; a new wrapper's mode is training.
    module.eval()
    with torch.no_grad(), _without_fast_path(), warnings.catch_warnings():
        # It traces in a quarter of a second; the newer exporter takes ten, with the same numbers.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(example for example, _ in inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=opset,
            dynamo=False,
        )


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Switch the fused attention of `nn.MultiheadAttention` off: it has no ONNX form."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _describe(path: Path) -> Graph:
    model = onnx.load(path)
    onnx.checker.check_model(model)
    return Graph(path.name, file_digest(path), _shapes(model.graph.input), _shapes(model.graph.output))


def _shapes(values: Sequence[onnx.ValueInfoProto]) -> dict[str, list[int | str]]:
    return {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
