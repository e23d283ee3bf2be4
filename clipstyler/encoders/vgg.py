"""VGG19 as content encoder: the rectified outputs of conv4_2 and conv5_2; later layers are removed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from clipstyler.encoders import bf16
from clipstyler.encoders.base import EncoderUnavailableError, file_digest
from clipstyler.encoders.bias_relu import fuse_biases
from clipstyler.encoders.mirrored import mirrored
from clipstyler.encoders.weights import sources
from clipstyler.encoders.weights.store import Store
from clipstyler.input_files import is_file
from clipstyler.recomputation import by_size

# Indices into torchvision's `vgg19().features`: the ReLUs after conv4_2 and conv5_2.
LAYERS = (22, 31)
# Where parts end that run on their own: after each pooling and each of the layers, so that no part changes its input.
_ENDS = (5, 10, 19, 23, 28, 32)
DEFAULT_WEIGHTS = "IMAGENET1K_V1"
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Vgg19Content(nn.Module):
    """Frozen VGG19 behind the `ContentEncoder` protocol."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, digest: str, layers: nn.Sequential) -> None:
        super().__init__()
        self.name = name
        self.digest = digest
        self.layers = layers
        self.mirrored_layers = mirrored(layers)
        self._is_bf16 = False
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def to_bf16(self) -> None:
        """Convert the convolutions in place; feature maps stay in single precision."""
        bf16.to_bf16(self.layers)
        self._is_bf16 = True

    def fuse(self) -> None:
        """Have the convolutions, in bfloat16, leave their biases to the ReLU that follows each."""
        fuse_biases(self.layers)
        fuse_biases(self.mirrored_layers)

    def features(self, images: Tensor, *, mirrored: bool = False) -> list[Tensor]:
        """Feature maps after conv4_2 and conv5_2: (B, 3, H, W) in [0, 1] to two of (B, 512, h, w)."""
        x = (images - self.mean) / self.std
        if self._is_bf16:
            x = bf16.bf16_image(x)
        layers = self.mirrored_layers if mirrored else self.layers
        run, begin, maps = by_size(images), 0, []
        for end in _ENDS:
            x = run(partial(_through, layers[begin:end]), x)
            begin = end
            if end - 1 in LAYERS:
                maps.append(x.float())
        return maps


def _through(layers: nn.Sequential, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def load(weights: str | os.PathLike[str], device: torch.device, store: Store) -> Vgg19Content:
    """Load VGG19 with torchvision's weights of a name (stored or downloaded), or from a local file.

    Parameters
    ----------
    weights
        "IMAGENET1K_V1", or a file with torchvision's parameter names: safetensors, or a state dictionary that
        `torch.load` reads with `weights_only=True`.
    device
        Where it will compute.
    store
        Of downloaded weights.

    Raises
    ------
    EncoderUnavailableError
        The name is unknown, or the weights cannot be obtained or do not fit.
    """
    path = Path(weights)
    if not is_file(path):
        stored = store.obtain(weights_of(str(weights)))
        stored.check()
        path = stored.path
    label = "vgg19:" + (path.name if is_file(weights) else str(weights))
    with torch.device("meta"):
        layers = torchvision.models.vgg19().features[: LAYERS[-1] + 1]
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        prefix = "features."
        wanted = {prefix + key for key in layers.state_dict()}
        state = {key.removeprefix(prefix): value.float() for key, value in state.items() if key in wanted}
        layers.load_state_dict(state, assign=True)
    except Exception as error:  # torch, pickle and safetensors each raise their own errors for broken files
        raise EncoderUnavailableError(f"{label}: {path} does not hold VGG19 weights: {error}") from error
    return Vgg19Content(label, file_digest(path), layers).to(device)


def weights_of(name: str) -> sources.Weights:
    """Return where torchvision's weights of a name are published.

    Raises
    ------
    EncoderUnavailableError
        The name is unknown.
    """
    known = {weights.name: weights.url for weights in torchvision.models.VGG19_Weights}
    if name not in known:
        raise EncoderUnavailableError(
            f"vgg19:{name}: neither a file nor one of torchvision's weights, which are {', '.join(known)}"
        )
    return sources.vgg19(name, known[name])
