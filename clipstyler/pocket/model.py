"""The `pocket` encoders as the algorithm uses them: frozen towers from the weights in the package.

Needs only torch, numpy and safetensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from clipstyler.encoders.base import Towers
from clipstyler.encoders.description import TextConfidence
from clipstyler.encoders.mirrored import mirrored
from clipstyler.pocket.knowledge import known_concepts
from clipstyler.pocket.tokenizer import NAME as TOKENIZER
from clipstyler.pocket.tokenizer import tokenize
from clipstyler.pocket.towers import VIEW, ImageTower, TextTower

WEIGHTS = Path(__file__).parent / "weights" / "pocket.safetensors"
_NEAREST = 3
CONTENT_LEVELS = (1, 2, 3)
"""Levels of the pyramid whose maps hold the content: at 1/2, 1/4 and 1/8 of the image's resolution."""


class PocketClip(nn.Module):
    """Both towers behind the `ClipEncoder` protocol.

    Attributes
    ----------
    name, digest
        "pocket", and the SHA-256 of the weights file in hexadecimal.
    image_size
        Side in pixels of the views.
    """

    def __init__(self, image: ImageTower, text: TextTower, digest: str) -> None:
        super().__init__()
        self.name = "pocket"
        self.digest = digest
        self.image_size = VIEW
        self.image = image
        self.text = text

    @property
    def view_bytes(self) -> int:
        """Memory of the activations for one view, measured."""
        return 4 * 2**20

    def encode_image(self, views: Tensor) -> Tensor:
        """Embed views, float32 (B, 3, 72, 72) in [0, 1]: (B, 256), not normalized."""
        embedding: Tensor = self.image(views)
        return embedding

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Embed sentences: (len(sentences), 256), not normalized."""
        embedding: Tensor = self.text(*self.tokens(sentences))
        return embedding

    def confidence(self, sentence: str) -> TextConfidence:
        """Return how well a sentence matches the concepts that the towers know, and the nearest ones."""
        logit = self.text.confidence(*self.tokens([sentence]))
        names = known_concepts()[1:]
        embeddings = F.normalize(self.encode_text([sentence, *names]), dim=1)
        nearest = (embeddings[1:] @ embeddings[0]).topk(_NEAREST).indices.tolist()
        return TextConfidence(float(logit.sigmoid()), tuple(names[i] for i in nearest))

    def towers(self) -> Towers:
        """The towers as graphs, for export."""
        return Towers(self.image, self.text, ("tokens", "words"), TOKENIZER, self.tokens)

    def tokens(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the text tower's inputs; see `clipstyler.pocket.tokenizer.tokenize`."""
        device = self.text.parts.weight.device
        tokens, words = (torch.from_numpy(part).to(device) for part in tokenize(sentences))
        return tokens, words


class PocketContent(nn.Module):
    """The image tower's pyramid behind the `ContentEncoder` protocol; shares the tower with `PocketClip`.

    Every channel is normalized to mean 0 and deviation 1 over the image (instance normalization): what remains is
    the layout, without the colors and contrasts that a style must be able to change.
    """

    def __init__(self, image: ImageTower, digest: str) -> None:
        super().__init__()
        self.name = "pocket"
        self.digest = digest
        self.image = image
        self.mirrored_image = mirrored(image)

    def features(self, images: Tensor, *, mirrored: bool = False) -> list[Tensor]:
        """Feature maps, float32 (B, 3, H, W) in [0, 1] to (B, C, h, w) at 1/2, 1/4 and 1/8 of the size."""
        maps = (self.mirrored_image if mirrored else self.image).maps(images, CONTENT_LEVELS[-1])
        return [F.instance_norm(maps[level]) for level in CONTENT_LEVELS]


def load(device: torch.device, weights: Path = WEIGHTS) -> tuple[PocketClip, PocketContent]:
    """Load the encoders, frozen and in evaluation mode.

    Parameters
    ----------
    device
        Where they will compute.
    weights
        Another checkpoint of `training.pocket.train` instead of the bundled file.
    """
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    state = {name: tensor.float() for name, tensor in load_file(weights).items()}
    image, text = ImageTower(), TextTower()
    nn.ModuleDict({"image": image, "text": text}).load_state_dict(state)
    clip, content = PocketClip(image, text, digest), PocketContent(image, digest)
    for encoder in (clip, content):
        encoder.to(device).eval().requires_grad_(False)
    return clip, content
