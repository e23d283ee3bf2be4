"""How much pictures of one look differ: the spread of what they are, and of how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Root mean square distance from the mean, of CLIP embeddings of length 1, and of style statistics."""

    embeddings: float
    statistics: float


class Looks(NamedTuple):
    """What was done to photos, a row for each; (N, D) and (N, E) float32."""

    embeddings: Floats
    statistics: Floats

    def spread(self) -> Spread:
        """Return how much the rows differ."""
        return Spread(_spread(self.embeddings), _spread(self.statistics))


@torch.no_grad()
def looks(pictures: Sequence[Picture], photos: Sequence[Picture], encoders: EncoderSet) -> Looks:
    """Describe what was done to photos.

    Parameters
    ----------
    pictures, photos
        Stylized, and before: as many of either.
    encoders
        Their CLIP embeds how each photo was changed, the direction from the photo to the picture. Style statistics are
        mean and deviation of each channel of the content encoder's features (Li et al., "Demystifying neural style
        transfer", 2017), which are the picture's own.
    """
    changes, statistics = [], []
    for picture, photo in zip(pictures, photos, strict=True):
        before, after = (_tensor(image, encoders) for image in (photo, picture))
        seen = F.normalize(encoders.clip.encode_image(torch.cat([_view(before, encoders), _view(after, encoders)])))
        changes.append(F.normalize(seen[1] - seen[0], dim=0).cpu().numpy())
        layers = encoders.content.features(after)
        statistics.append(torch.cat([_statistics(layer) for layer in layers]).cpu().numpy())
    return Looks(np.stack(changes), np.stack(statistics))


def spread(pictures: Sequence[Picture], photos: Sequence[Picture], encoders: EncoderSet) -> Spread:
    """Measure how much stylized pictures differ in what was done to their photos; parameters as those of `looks`."""
    return looks(pictures, photos, encoders).spread()


def _statistics(layer: torch.Tensor) -> torch.Tensor:
    """Return mean and deviation of each channel of (1, C, H, W), together of length 1."""
    found = torch.cat([layer.mean(dim=(0, 2, 3)), layer.std(dim=(0, 2, 3))])
    return F.normalize(found, dim=0)


def _spread(rows: Floats) -> float:
    return float(np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _tensor(picture: Picture, encoders: EncoderSet) -> torch.Tensor:
    pixels = resized(picture, (_SIDE, _SIDE)).rgb.astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(encoders.device)


def _view(image: torch.Tensor, encoders: EncoderSet) -> torch.Tensor:
    side = encoders.clip.image_size
    return F.interpolate(image, (side, side), mode="bilinear", antialias=True, align_corners=False)
