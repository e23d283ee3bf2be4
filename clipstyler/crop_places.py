"""Places of crops that mostly show one part of an image: a region, or what lies beyond it.

Which crops a text sees is decided by their share of its part, as in Sem-CS (arXiv 2307.05934) and Soulstyler: here no
crop is drawn and then dropped, but all are drawn among the places whose share is large enough.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ENOUGH = 0.5  # share of the part in a crop that belongs to it
_OF_THE_BEST = 0.9  # share of the best place's share that is enough if no place has half of the part


class CropPlaces:
    """Draws upper left corners of crops, uniformly among those that show enough of a part.

    Parameters
    ----------
    part
        Which pixels belong to it: bool (H, W).
    side
        Of the crops in pixels.
    overhang
        Pixels that crops may extend beyond the border.
    mirrored
        Whether they do: then they show the mirrored image there. Otherwise they are moved back onto it.
    """

    def __init__(self, part: NDArray[np.bool_], side: int, overhang: int = 0, *, mirrored: bool = False) -> None:
        shares = _shares(part, side, overhang, mirrored=mirrored)
        enough = shares >= min(ENOUGH, _OF_THE_BEST * shares.max())
        self._places = torch.from_numpy(np.flatnonzero(enough))
        self._columns = shares.shape[1]
        self._overhang = overhang
        self._room = None if mirrored else torch.tensor([part.shape[1] - side, part.shape[0] - side])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw whole pixels as `patches.sample_origins` does: float64, (count, 2) as (x, y)."""
        draws = torch.rand(count, generator=generator, dtype=torch.float64)
        places = self._places[(draws * len(self._places)).long()]
        origins = torch.stack([places % self._columns, places // self._columns], dim=1) - self._overhang
        return (origins if self._room is None else origins.clamp_min(0).minimum(self._room)).double()


def _shares(part: NDArray[np.bool_], side: int, overhang: int, *, mirrored: bool) -> NDArray[np.float64]:
    """Return the share of a part in the crop at every place, the first one `overhang` pixels beyond the corner."""
    if mirrored:
        return _window_means(np.pad(part, overhang, mode="symmetric"), side)
    means = _window_means(part, side)
    rows, columns = (np.arange(-overhang, length + overhang).clip(0, length - 1) for length in means.shape)
    found: NDArray[np.float64] = means[np.ix_(rows, columns)]
    return found


def _window_means(part: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Return the mean of every window of a side, by sums over rectangles from the corner."""
    sums = np.pad(part, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    covered = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    means: NDArray[np.float64] = covered / side**2
    return means
