"""What encoders see in one photo: all that a stylization needs of it, whatever the text is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clipstyler import patches
from clipstyler.encoders.base import EncoderSet
from clipstyler.imaging import Picture
from clipstyler.losses import content_loss
from clipstyler.photo_cache import PhotoCache, Tensors, key_of
from clipstyler.tints import tints

# Longest and shortest side in pixels of the photo in which tints are ranked by their content.
_THUMBNAIL, _SHORTEST = 128, 16


class SeenTints(NamedTuple):
    """The photo in every tint of `clipstyler.tints`.

    Attributes
    ----------
    embeddings
        L2-normalized embeddings of the global views, (tints, D).
    contents
        Content losses of small versions, (tints,).
    """

    embeddings: Tensor
    contents: Tensor


class SeenPhoto:
    """A fitted photo through the eyes of an encoder set; each part is computed when it is asked for.

    Parameters
    ----------
    picture
        The photo, for its digest.
    image
        The photo as the losses compare it, (1, 3, H, W) in [0, 1].
    encoders
        That see it.
    cache
        Keeps what was computed; None computes anew. Results do not depend on it.
    """

    def __init__(self, picture: Picture, image: Tensor, encoders: EncoderSet, cache: PhotoCache | None = None) -> None:
        self._image = image
        self._encoders = encoders
        self._cache = cache
        self._key = key_of(picture, encoders) if cache else None

    def embedding(self) -> Tensor:
        """Return the L2-normalized embedding of the global view, (1, D)."""
        (embedding,) = self._seen("embedding", self._embedding)
        return embedding

    def features(self, *, mirrored: bool = False) -> list[Tensor]:
        """Return the content features, one (1, C, h, w) per layer."""
        return list(self._seen("mirrored features" if mirrored else "features", partial(self._features, mirrored)))

    def tints(self) -> SeenTints:
        """Return the photo in every tint, all global views as one batch."""
        return SeenTints(*self._seen("tints", self._tints))

    def _seen(self, part: str, compute: Callable[[], Tensors]) -> Tensors:
        with torch.no_grad():
            if self._cache is None or self._key is None:
                return compute()
            return self._cache.get(self._key._replace(part=part), compute)

    def _embedding(self) -> Tensors:
        return (self._embed(self._view()),)

    def _features(self, mirrored: bool) -> Tensors:
        return tuple(self._encoders.content.features(self._image, mirrored=mirrored))

    def _tints(self) -> Tensors:
        candidates = tints()
        view, small = self._view(), thumbnail(self._image)
        embeddings = self._embed(torch.cat([tint(view) for tint in candidates]))
        maps = self._encoders.content.features(torch.cat([small, *(tint(small) for tint in candidates)]))
        contents = [
            content_loss([layer[i : i + 1] for layer in maps], [layer[:1] for layer in maps])
            for i in range(1, len(candidates) + 1)
        ]
        return embeddings, torch.stack(contents)

    def _view(self) -> Tensor:
        return patches.resize(self._image, self._encoders.clip.image_size)

    def _embed(self, views: Tensor) -> Tensor:
        return F.normalize(self._encoders.clip.encode_image(views), dim=1)


def thumbnail(image: Tensor) -> Tensor:
    """Shrink (1, 3, H, W) so that its longest side has at most 128 pixels, and no side fewer than 16."""
    height, width = image.shape[-2:]
    scale = min(1.0, _THUMBNAIL / max(height, width))
    size = tuple(max(_SHORTEST, round(side * scale)) for side in (height, width))
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
