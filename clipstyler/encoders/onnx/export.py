"""From frozen PyTorch encoders to ONNX files with a manifest. The one place that needs both PyTorch and `onnx`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from clipstyler.config import ConfigError
from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError, Exportable, file_digest
from clipstyler.encoders.onnx.manifest import SMALLEST_OPSET, Graph, Manifest

OPSET = 18
LARGEST_OPSET = 23
_SENTENCES = ("a photo", "a sketch with black pencil")
# Traced with two of everything: a batch of one would be taken for a constant.
_BATCH = 2
_CONTENT_SIDE = 64


class _Content(nn.Module):
    """The content encoder's feature maps as a graph with one output a layer."""

    def __init__(self, encoders: EncoderSet) -> None:
        super().__init__()
        self.content = encoders.content

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.content.features(images))


class _Half(nn.Module):
    """A copy of a module in half precision, with single precision at both ends."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = self.module(*(part.half() if part.is_floating_point() else part for part in inputs))
        return outputs.float() if isinstance(outputs, Tensor) else tuple(part.float() for part in outputs)


def export(encoders: EncoderSet, directory: Path, *, opset: int = OPSET, half: bool = False) -> Manifest:
    """Write encoders as ONNX files with a manifest.

    Parameters
    ----------
    encoders
        On the CPU.
    directory
        Made where it is missing; files of an older export are replaced.
    opset
        18 to 23.
    half
        Weights and arithmetic in half precision; inputs and outputs stay float32.

    Raises
    ------
    EncoderUnavailableError
        The encoders have no graphs to export.
    ConfigError
        The opset is out of range.
    """
    if not SMALLEST_OPSET <= opset <= LARGEST_OPSET:
        raise ConfigError("opset", f"must be {SMALLEST_OPSET} to {LARGEST_OPSET}, got {opset}")
    if not isinstance(encoders.clip, Exportable):
        raise EncoderUnavailableError(f"{encoders.name}: these encoders have no graphs to export")
    directory.mkdir(parents=True, exist_ok=True)
    towers = encoders.clip.towers()
    side = encoders.clip.image_size
    views, tokens = torch.rand(_BATCH, 3, side, side), towers.tokenize(_SENTENCES)
    images = torch.rand(_BATCH, 3, _CONTENT_SIDE, _CONTENT_SIDE)
    free_length = towers.tokenizer.startswith("clipstyler")
    token_axes = {0: "batch", 1: "length"} if free_length else {0: "batch"}
    writer = _Writer(directory, opset, half)
    graphs = {
        "image": writer.write("image", towers.image, {"views": (views, {0: "batch"})}, ["embeddings"]),
        "text": writer.write(
            "text",
            towers.text,
            {name: (part, token_axes) for name, part in zip(towers.text_inputs, tokens, strict=True)},
            ["embeddings"],
        ),
        "content": writer.write(
            "content",
            _Content(encoders),
            {"images": (images, {0: "batch", 2: "height", 3: "width"})},
            [f"features_{i}" for i in range(len(encoders.content.features(images)))],
        ),
    }
    manifest = Manifest(
        name=encoders.name,
        description=encoders.description,
        models={model.name: model.digest for model in encoders.models},
        precision="fp16" if half else "fp32",
        opset=opset,
        image_size=side,
        embedding_dim=int(encoders.clip.encode_text(_SENTENCES[:1]).shape[1]),
        tokenizer=towers.tokenizer,
        calibration=asdict(encoders.calibration),
        graphs=graphs,
        versions={name: version(name) for name in ("clipstyler", "torch", "onnx")},
    )
    manifest.write(directory)
    return manifest


class _Writer:
    """Writes graphs of one export."""

    def __init__(self, directory: Path, opset: int, half: bool) -> None:
        self._directory, self._opset, self._half = directory, opset, half

    def write(
        self, name: str, module: nn.Module, inputs: dict[str, tuple[Tensor, dict[int, str]]], outputs: Sequence[str]
    ) -> Graph:
        """Trace a module with example inputs; the axes named for each are free."""
        path = self._directory / f"{name}.onnx"
        axes = {key: free for key, (_, free) in inputs.items()}
        free_outputs = {key: _free_axes(inputs) for key in outputs}
        fast = torch.backends.mha.get_fastpath_enabled()
        # The exporter puts the mode back to what it found, in all parts: a wrapper must not be found in training.
        module = (_Half(module) if self._half else module).eval()
        # The fused attention of `nn.MultiheadAttention` has no ONNX form.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                # It traces in a quarter of a second what the newer exporter takes ten for, with the same numbers.
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    module,
                    tuple(example for example, _ in inputs.values()),
                    str(path),
                    input_names=list(inputs),
                    output_names=list(outputs),
                    dynamic_axes={**axes, **free_outputs},
                    opset_version=self._opset,
                    dynamo=False,
                )
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        model = onnx.load(path)
        onnx.checker.check_model(model)
        return Graph(path.name, file_digest(path), _shapes(model.graph.input), _shapes(model.graph.output))


def _free_axes(inputs: dict[str, tuple[Tensor, dict[int, str]]]) -> dict[int, str]:
    free = next(iter(inputs.values()))[1]
    return {0: "batch"} if 2 not in free else {0: "batch", 2: "out_height", 3: "out_width"}


def _shapes(values: Sequence[onnx.ValueInfoProto]) -> dict[str, list[int | str]]:
    return {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
