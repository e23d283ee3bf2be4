"""Cuts a picture into tiles for the network, each with a halo of true pixels around what is kept of it."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from clipstyler.pixels import SMALLEST_SIDE, mirrored
from clipstyler.stylenet import STRIDE

# An output pixel depends on input pixels up to 76 away: on each way down and up a block sees two pixels of its
# resolution farther, and each change of resolution up to two.
HALO = 80


class Span(NamedTuple):
    """One side of a tile.

    Attributes
    ----------
    seen
        Pixels of the picture that the network sees.
    kept
        Those of them that are kept: up to the picture's border, where the network's own padding is right, and elsewhere
        up to `HALO` before the end of what is seen.
    """

    seen: slice
    kept: slice

    @property
    def inside(self) -> slice:
        """Pixels that are kept, counted from the first one that is seen."""
        return slice(self.kept.start - self.seen.start, self.kept.stop - self.seen.start)


class Tile(NamedTuple):
    """A tile: its rows and its columns."""

    rows: Span
    columns: Span


def tiles_of(shape: tuple[int, ...], tile_side: int) -> list[Tile]:
    """Return all tiles of a picture (H, W, 3) that is mirrored to sides that the network takes."""
    height, width = (len(mirrored(side, SMALLEST_SIDE)) for side in shape[:2])
    return [Tile(rows, columns) for rows, columns in product(spans(height, tile_side), spans(width, tile_side))]


def spans(length: int, most: int) -> list[Span]:
    """Cut a side, a multiple of 8, into as few spans as possible.

    Each sees as many pixels, a multiple of 8: `most` and two halos at most. With tiles of several sizes, memory that
    one has freed would not fit the next, and the process would take twice as much.
    """
    count = max(1, -(-(length - 2 * HALO) // most))
    seen = -(-(length + (count - 1) * 2 * HALO) // count // STRIDE) * STRIDE
    starts = [min(number * (seen - 2 * HALO), length - seen) for number in range(count)]
    bounds = [0, *(start + seen - HALO for start in starts[:-1]), length]
    return [
        Span(slice(start, start + seen), slice(bounds[number], bounds[number + 1]))
        for number, start in enumerate(starts)
    ]
