"""The judge's eyes: a small residual network over learned and plain statistics, and the views it is trained on."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VIEW = 96
"""Side of a view in pixels."""
_WIDTHS = (24, 48, 96, 160)


class Block(nn.Module):
    """Two 3x3 convolutions beside a 1x1 shortcut; the first one halves the resolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Conv2d(before, after, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution: (B, before, H, W) to (B, after, H/2, W/2)."""
        return F.relu(self.body(x) + self.shortcut(x))


class Judge(nn.Module):
    """Views (B, 3, VIEW, VIEW) in [0, 1] to logits (B, texts)."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        first = _WIDTHS[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.blocks = nn.ModuleList(Block(before, after) for before, after in pairwise(_WIDTHS))
        statistics = first * (first + 1) // 2 + 2 * sum(_WIDTHS[1:]) + 10
        self.head = nn.Sequential(
            nn.BatchNorm1d(statistics),
            nn.Dropout(0.3),
            nn.Linear(statistics, 128),
            nn.ReLU(),
            nn.Linear(128, texts),
        )

    def forward(self, views: Tensor) -> Tensor:
        """Judge views."""
        x = self.stem(views * 2 - 1)
        found = [plain_statistics(views), _gram(x)]
        for block in self.blocks:
            x = block(x)
            found += [x.mean(dim=(2, 3)), x.flatten(2).std(dim=2)]
        logits: Tensor = self.head(torch.cat(found, dim=1))
        return logits


def _gram(x: Tensor) -> Tensor:
    flat = x.flatten(2)
    gram = flat @ flat.transpose(1, 2) / flat.shape[2]
    rows, columns = torch.triu_indices(x.shape[1], x.shape[1])
    return gram[:, rows, columns]


def plain_statistics(views: Tensor) -> Tensor:
    """Mean and deviation of red, green, blue and of chroma, mean and deviation of edges: (B, 10)."""
    chroma = views.amax(dim=1) - views.amin(dim=1)
    gray = views.mean(dim=1)
    edges = (gray[:, 1:, 1:] - gray[:, :-1, 1:]).abs() + (gray[:, 1:, 1:] - gray[:, 1:, :-1]).abs()
    columns = [
        *(views.mean(dim=(2, 3)), views.flatten(2).std(dim=2)),
        *(part.flatten(1).mean(dim=1, keepdim=True) for part in (chroma, edges)),
        *(part.flatten(1).std(dim=1, keepdim=True) for part in (chroma, edges)),
    ]
    return torch.cat(columns, dim=1)


def augmented(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Views of pictures (B, 3, S, S): a crop each, mirrored, blurred or noisy, in other light, a little off in hue."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(len(pictures), *shape).uniform_(low, high, generator=generator)

    scale, flip = uniform(0.45, 1.0), torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    room = 1 - scale
    affine = torch.zeros(len(pictures), 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = scale * flip, scale
    affine[:, 0, 2], affine[:, 1, 2] = uniform(-1, 1) * room, uniform(-1, 1) * room
    grid = F.affine_grid(affine, [len(pictures), 3, VIEW, VIEW], align_corners=False)
    views = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    blurred = F.avg_pool2d(F.pad(views, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    views = torch.lerp(views, blurred, uniform(-0.6, 1, 1, 1, 1).clamp(min=0))
    views = views + uniform(-0.04, 0.08, 1, 1, 1).clamp(min=0) * torch.randn(views.shape, generator=generator)
    views = turned_hue(views, uniform(-0.02, 0.02))
    return ((views - 0.5) * uniform(0.75, 1.3, 1, 1, 1) + 0.5 + uniform(-0.1, 0.1, 1, 1, 1)).clamp(0, 1)


def turned_hue(views: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of views by fractions of the color circle, around the gray axis."""
    cos, sin = (2 * torch.pi * turns).cos(), (2 * torch.pi * turns).sin() / 3**0.5
    a, b, c = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    turn = torch.stack([a, b, c, c, a, b, b, c, a], dim=1).view(-1, 3, 3)
    return torch.einsum("nij,njhw->nihw", turn, views)
