"""Writes a style as one ONNX file, which needs nothing of this program, and compares it with PyTorch."""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clipstyler.encoders.onnx.export import OPSET
from clipstyler.interleaved_norm import NORM_EPSILON
from clipstyler.pixels import adjust_contrast, mean_gray
from clipstyler.render import fix_style
from clipstyler.style import Style, StyleDescription
from clipstyler.style_applying import LoadedStyle
from clipstyler.stylenet import ResidualBlock, StyleNet

Floats = NDArray[np.float32]

TOLERANCE = 1e-3
"""Largest difference from PyTorch, of values in [0, 1]: a quarter of what 8 bits can show."""
METADATA = "clipstyler."
"""What the names of a graph's metadata begin with."""

_INPUTS = ("photo", "thumbnail")
_OUTPUT = "stylized"
# Sides of what is traced and compared: other than square, and other in both inputs.
_TRACED = ((64, 96), (48, 64))
_COMPARED = (((64, 96), (48, 64)), ((152, 88), (80, 56)), ((128, 16), (64, 16)))
_USE = (
    "photo: float32 (1, 3, H, W) in [0, 1], H and W multiples of 8, at least 16. thumbnail: the same photo with a "
    "longest side of `clipstyler.size`; it decides how channels are normalized. Pass a photo that is not larger twice. "
    "The style was fitted with noise of the deviation `clipstyler.input_noise` on its input: where a photo is flat, it "
    "draws texture from that. stylized: (1, 3, H, W) in [0, 1]."
)


def export_style(style: Style, digest: str) -> bytes:
    """Return a style as an ONNX file for photos of any size; the same style always gives the same bytes.

    Parameters
    ----------
    style
        What is exported.
    digest
        Its identity, which is written into the file.
    """
    loaded = LoadedStyle.of(style)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        path = Path(folder) / "style.onnx"
        warnings.simplefilter("ignore")  # the newer exporter needs many times as long, for the same numbers
        torch.onnx.export(
            _Graph(loaded.net, style.description.contrast).eval(),
            tuple(torch.rand(1, 3, *sides) for sides in _TRACED),
            path,
            input_names=list(_INPUTS),
            output_names=[_OUTPUT],
            dynamic_axes={name: {2: f"{name}_height", 3: f"{name}_width"} for name in (*_INPUTS, _OUTPUT)},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(path)
    model.doc_string = _USE
    onnx.helper.set_model_props(model, _metadata(style.description, digest))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def largest_difference(style: Style, model: bytes) -> float:
    """Run an exported style beside PyTorch on photos of several sizes; returns how much the results differ at most."""
    import onnxruntime as ort

    loaded = LoadedStyle.of(style)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1  # small photos
    session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    differences = []
    for sides in _COMPARED:
        photo, thumbnail = (rng.random((1, 3, *side), np.float32) for side in sides)
        (found,) = session.run([_OUTPUT], {"photo": photo, "thumbnail": thumbnail})
        differences.append(float(np.abs(found - drawn(loaded, photo, thumbnail)).max()))
    return max(differences)


def drawn(loaded: LoadedStyle, photo: Floats, thumbnail: Floats) -> Floats:
    """Return what PyTorch draws for the inputs of the graph, as `apply_style` has it drawn."""
    described = loaded.description
    fixed = fix_style(
        loaded.net,
        torch.from_numpy(thumbnail),
        thumbnail.shape[2:],
        input_noise=described.input_noise,
        noise_octaves=described.noise_octaves,
        contrast=described.contrast,
        seed=described.seed,
    )
    stylized: Floats = fixed.stylize(torch.from_numpy(photo)).numpy()
    return stylized


def _metadata(description: StyleDescription, digest: str) -> dict[str, str]:
    values = {
        "style": f"styles/{digest}",
        "style_text": description.style_text,
        "source_text": description.source_text,
        "encoder_set": description.encoder_set,
        "size": str(description.size),
        "seed": str(description.seed),
        "input_noise": repr(description.input_noise),
        "noise_octaves": str(description.noise_octaves),
    }
    return {METADATA + name: value for name, value in values.items()}


class _Graph(nn.Module):
    """StyleNet with the statistics of a thumbnail, and the contrast step."""

    def __init__(self, net: StyleNet, contrast: float) -> None:
        super().__init__()
        self._net = copy.deepcopy(net)
        self._contrast = contrast
        self._norms: list[_SharedNormReLU] = []
        for block in self._net.modules():
            if isinstance(block, ResidualBlock):
                block.body[1], block.body[3] = norms = _SharedNormReLU(), _SharedNormReLU()
                self._norms += norms

    def forward(self, photo: Tensor, thumbnail: Tensor) -> Tensor:
        for norm in self._norms:
            norm.statistics = None
        gray = mean_gray(self._net(thumbnail))
        return adjust_contrast(self._net(photo), self._contrast, gray)


class _SharedNormReLU(nn.Module):
    """Instance normalization and ReLU of several images by the statistics of the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.statistics is None:
            mean = x.mean(dim=(2, 3), keepdim=True)
            variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
            self.statistics = mean, (variance + NORM_EPSILON).rsqrt()
        mean, scale = self.statistics
        return ((x - mean) * scale).relu()
