"""How much pictures of one look differ: the spread of what they are, and of how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import starmap
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from clipstyler.encoders.base import EncoderSet
from clipstyler.imaging import Picture, resized

Floats = NDArray[np.float32]

_SIDE = 224


class Spread(NamedTuple):
    """Root mean square distance from the mean: of CLIP embeddings of length 1, of style statistics, and of colors."""

    embeddings: float
    statistics: float
    colors: float


class Looks(NamedTuple):
    """What was done to photos, a row for each; (N, D), (N, E) and (N, 6) float32."""

    embeddings: Floats
    statistics: Floats
    colors: Floats

    def spread(self) -> Spread:
        """Return how much the rows differ."""
        return Spread(*(_spread(rows) for rows in self))


def looks(pairs: Iterable[tuple[Picture, Picture]], encoders: EncoderSet) -> Looks:
    """Describe what was done to photos.

    Parameters
    ----------
    pairs
        Stylized pictures, each with its photo. None is kept: a generator of them has one pair at a time in memory.
    encoders
        Their CLIP embeds how each photo was changed, the direction from the photo to the picture. Style statistics are
        mean and deviation of each channel of the content encoder's features (Li et al., "Demystifying neural style
        transfer", 2017), and colors those of red, green and blue from 0 to 1; both are the picture's own.
    """
    changes, statistics, colors = zip(*starmap(partial(_look, encoders), pairs), strict=True)
    return Looks(np.stack(changes), np.stack(statistics), np.stack(colors))


def spread(pairs: Iterable[tuple[Picture, Picture]], encoders: EncoderSet) -> Spread:
    """Measure how much stylized pictures differ in what was done to their photos; parameters as those of `looks`."""
    return looks(pairs, encoders).spread()


@torch.no_grad()
def _look(encoders: EncoderSet, picture: Picture, photo: Picture) -> tuple[Floats, Floats, Floats]:
    """Return the direction in which a photo was changed, and the style statistics and colors of the picture."""
    before, after = (_tensor(image, encoders) for image in (photo, picture))
    seen = F.normalize(encoders.clip.encode_image(torch.cat([_view(before, encoders), _view(after, encoders)])))
    change = F.normalize(seen[1] - seen[0], dim=0)
    layers = encoders.content.features(after)
    statistics = torch.cat([F.normalize(_moments(layer), dim=0) for layer in layers])
    return change.cpu().numpy(), statistics.cpu().numpy(), _moments(after).cpu().numpy()


def _moments(channels: torch.Tensor) -> torch.Tensor:
    """Return mean and deviation of each channel of (1, C, H, W), (2 C,)."""
    return torch.cat([channels.mean(dim=(0, 2, 3)), channels.std(dim=(0, 2, 3))])


def _spread(rows: Floats) -> float:
    return float(np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _tensor(picture: Picture, encoders: EncoderSet) -> torch.Tensor:
    pixels = resized(picture, (_SIDE, _SIDE)).rgb.astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(encoders.device)


def _view(image: torch.Tensor, encoders: EncoderSet) -> torch.Tensor:
    side = encoders.clip.image_size
    return F.interpolate(image, (side, side), mode="bilinear", antialias=True, align_corners=False)
