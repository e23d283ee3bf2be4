"""A plain version of the authors' published algorithm, the reference of parity tests and benchmarks.

A loop over crops with two resamplings each (warp at the crop's size, then resize), CLIP not frozen, VGG19 frozen
but run to its end (Kwon & Ye, CVPR 2022). Nothing here is fast on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from clipstyler.config import StylizeConfig
from clipstyler.stylenet import StyleNet

CONTENT_LAYERS = (22, 31)  # ReLUs after conv4_2 and conv5_2 in torchvision's vgg19().features
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CLIP_MEAN, _CLIP_STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


def two_step_view(image: Tensor, origin: Tensor, quadrilateral: Tensor, side: int, view_size: int) -> Tensor:
    """Crop, warp at the crop's size with black outside, then resize: (1, C, H, W) to (1, C, S, S)."""
    x, y = (int(value) for value in origin)
    crop = image[..., y : y + side, x : x + side]
    start = [[0, 0], [side, 0], [side, side], [0, side]]
    # Without a fill torchvision pads with zeros; with one it writes in place, which autograd refuses.
    warped = V.perspective(crop, start, quadrilateral.tolist(), interpolation=InterpolationMode.BILINEAR)
    view: Tensor = V.resize(warped, [view_size, view_size], interpolation=InterpolationMode.BILINEAR, antialias=True)
    return view


def vgg_features(layers: nn.Sequential, image: Tensor) -> list[Tensor]:
    """Content features of all of VGG19's layers run to their end: (1, 3, H, W) in [0, 1]."""
    mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (_IMAGENET_MEAN, _IMAGENET_STD))
    x = (image - mean) / std
    maps = []
    for index, layer in enumerate(layers):
        x = layer(x)
        if index in CONTENT_LAYERS:
            maps.append(x)
    return maps


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity of two vectors, written out."""
    return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())


def patch_clip_loss(patches: Tensor, content: Tensor, direction: Tensor, tau: float) -> Tensor:
    """PatchCLIP loss over normalized embeddings (N, D), (D,), (D,), one patch after the other."""
    losses = []
    for patch in patches:
        loss = 1 - cosine(patch - content, direction)
        losses.append(loss if loss.item() > tau else torch.zeros_like(loss))
    return torch.stack(losses).sum() / len(losses)


def content_loss(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Mean squared differences, added up over the layers."""
    total = features[0].new_zeros(())
    for feature, target in zip(features, targets, strict=True):
        total = total + ((feature - target) ** 2).mean()
    return total


def total_variation_norm(image: Tensor) -> Tensor:
    """Sum of the four Frobenius norms of neighbor differences, as the authors' code has it."""
    right = image[:, :, :, :-1] - image[:, :, :, 1:]
    down = image[:, :, :-1, :] - image[:, :, 1:, :]
    falling = image[:, :, :-1, :-1] - image[:, :, 1:, 1:]
    rising = image[:, :, 1:, :-1] - image[:, :, :-1, 1:]
    total: Tensor = torch.norm(right) + torch.norm(down) + torch.norm(falling) + torch.norm(rising)
    return total


@dataclass
class ReferenceRun:
    """One run of the plain algorithm; `step` makes one update."""

    content: Tensor
    direction: Tensor
    clip: open_clip.CLIP
    vgg: nn.Sequential
    config: StylizeConfig
    seed: int = 0

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.net = StyleNet.initialize(self.generator, self.content.device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=self.config.learning_rate)
        self.clip.requires_grad_(True)
        size = self.clip.visual.image_size[0]
        with torch.no_grad():
            self.targets = vgg_features(self.vgg, self.content)
            view = V.resize(self.content, [size, size], antialias=True)
            self.content_embedding = self.embed(view)[0]

    def embed(self, views: Tensor) -> Tensor:
        """Normalized embeddings of views in [0, 1]."""
        mean, std = (views.new_tensor(v).view(1, 3, 1, 1) for v in (_CLIP_MEAN, _CLIP_STD))
        embeddings: Tensor = F.normalize(self.clip.encode_image((views - mean) / std), dim=1)
        return embeddings

    def view(self, image: Tensor, side: int) -> Tensor:
        """Draw one random crop through a random perspective."""
        height, width = image.shape[-2:]
        draws = torch.rand(10, generator=self.generator)
        origin = torch.floor(draws[:2] * torch.tensor([width - side + 1, height - side + 1]))
        shift = draws[2:].view(4, 2) * side / 4
        signs = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        square = torch.tensor([[0, 0], [side, 0], [side, side], [0, side]])
        return two_step_view(image, origin, square + signs * shift, side, self.clip.visual.image_size[0])

    def step(self) -> float:
        """Make one update and return the weighted loss."""
        config = self.config
        image = self.net(self.content)
        side = config.crop_side(image.shape[-1], image.shape[-2])
        views = torch.cat([self.view(image, side) for _ in range(config.patches)])
        patches = self.embed(views)
        size = self.clip.visual.image_size[0]
        whole = self.embed(V.resize(image, [size, size], antialias=True))[0]
        loss = (
            config.weight_patch * patch_clip_loss(patches, self.content_embedding, self.direction, config.threshold)
            + config.weight_direction * (1 - cosine(whole - self.content_embedding, self.direction))
            + config.weight_content * content_loss(vgg_features(self.vgg, image), self.targets)
            + config.weight_tv * total_variation_norm(image)
        )
        self.optimizer.zero_grad()
        self.clip.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
