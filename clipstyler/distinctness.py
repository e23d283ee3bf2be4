"""What a text asks for beyond what all looks have in common. Not in the paper.

To a small encoder the directions from "photo" to all looks are alike: to `pocket` their mean cosine with their mean is
0.59, that of fire, lava and autumn leaves 0.61 to 0.63. An optimization goes there first, where those look the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler.encoders.base import ClipEncoder
from clipstyler.pocket.knowledge import known_concepts


class AverageLook(NamedTuple):
    """The mean of the looks of the vocabulary, as a CLIP encoder embeds their names.

    Attributes
    ----------
    embedding
        Unit mean of their unit embeddings, (D,).
    direction
        Unit mean of their unit directions from "photo", whatever the source text of a run is, (D,).
    """

    embedding: Tensor
    direction: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, clip: ClipEncoder) -> AverageLook:
        """Embed the names of the looks, without templates."""
        rows = F.normalize(clip.encode_text(list(known_concepts())), dim=1)
        photo, looks = rows[:1], rows[1:]
        directions = F.normalize(looks - photo, dim=1)
        return cls(F.normalize(looks.mean(0), dim=0), F.normalize(directions.mean(0), dim=0))


def distinct(vector: Tensor, average: Tensor, share: float) -> Tensor:
    """Take a share of an average away from a vector.

    Parameters
    ----------
    vector
        An embedding or a direction, (D,).
    average
        That of the average look, of length 1, (D,).
    share
        How much of it, as a share of the vector's length, 0 to 1; 0 changes nothing.

    Returns
    -------
    The rest, as long as the vector, (D,).
    """
    rest: Tensor = F.normalize(F.normalize(vector, dim=0) - share * average, dim=0) * vector.norm()
    return rest
