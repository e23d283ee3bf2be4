"""Measures beside the quality report: new texture, over-stylization, and how much results of several seeds differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from skimage.filters import gaussian

from clipstyler.encoders.inference import Floats, l2_normalize
from clipstyler.evaluation.metrics import EmbeddedViews, patch_similarities, ssim

_DETAIL = 2.0  # standard deviation in pixels of the 512 px image of what counts as detail
_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)
_STRONGEST = 0.1  # share of the crops where the style is strongest


def new_texture(before: Floats, after: Floats) -> float:
    """Detail that the stylization added: 0 if it only recolored, or strengthened what the photo has.

    Parameters
    ----------
    before, after
        Float32 (1, 3, H, W) in [0, 1].

    Returns
    -------
    Root mean square of the luminance detail of `after` that no multiple of the detail of `before` explains.
    """
    photo, result = _detail(before), _detail(after)
    explained = float((photo * result).sum() / max(float((photo * photo).sum()), 1e-12)) * photo
    return float(np.sqrt(np.mean((result - explained) ** 2)))


def _detail(image: Floats) -> Floats:
    light: Floats = np.tensordot(_LUMA, image[0], axes=1)
    detail: Floats = light - gaussian(light, _DETAIL)
    return detail


def over_stylization(views: EmbeddedViews, direction: Floats) -> float:
    """How much of the photo is gone where the style is strongest: 0 if all of its structure is there.

    The paper's threshold keeps patches that already match the text from being optimized further, at the expense of
    their content. This is 1 - the mean SSIM of that tenth of the crops that matches the text direction best.

    Parameters
    ----------
    views
        Of `clipstyler.evaluation.metrics.embedded_views`.
    direction
        Text direction, (D,), of any length.
    """
    similarities = patch_similarities(views, l2_normalize(direction))
    best = similarities.argsort()[::-1][: max(1, round(_STRONGEST * len(views.crops)))]
    places = [views.crops[i] for i in best]
    return 1 - float(np.mean([ssim(_cut(views.before, place), _cut(views.after, place)) for place in places]))


def _cut(image: Floats, place: tuple[int, int, int]) -> Floats:
    x, y, side = place
    return image[:, :, y : y + side, x : x + side]


class Spread(NamedTuple):
    """How much images differ, as means over all pairs; 0: they are all the same.

    Attributes
    ----------
    pixels
        Root mean square difference of pixels in [0, 1].
    embedding
        1 - cosine of the whole images' embeddings.
    style
        Distance of style statistics (mean and deviation of every channel), relative to their length, mean of layers.
    content
        Mean squared difference of the content features, summed over layers.
    """

    pixels: float
    embedding: float
    style: float
    content: float


class Seen(NamedTuple):
    """One image as `spread` compares it.

    Attributes
    ----------
    pixels
        (3, H, W) in [0, 1].
    embedding
        L2-normalized, (D,).
    style, content
        Statistics per style layer, and content features per content layer, of any shape.
    """

    pixels: Floats
    embedding: Floats
    style: Sequence[Floats]
    content: Sequence[Floats]


def spread(images: Sequence[Seen]) -> Spread:
    """Compare all pairs of images of one size.

    Raises
    ------
    ValueError
        There are fewer than two.
    """
    pairs = [difference(one, other) for one, other in combinations(images, 2)]
    if not pairs:
        raise ValueError("a spread takes two images or more")
    return Spread(*(float(np.mean(values)) for values in zip(*pairs, strict=True)))


def difference(one: Seen, other: Seen) -> Spread:
    """Compare two images of one size."""
    return Spread(
        pixels=float(np.sqrt(np.mean((one.pixels - other.pixels) ** 2))),
        embedding=1 - float(one.embedding @ other.embedding),
        style=float(np.mean([_relative(a, b) for a, b in zip(one.style, other.style, strict=True)])),
        content=float(sum(np.mean((a - b) ** 2) for a, b in zip(one.content, other.content, strict=True))),
    )


def _relative(one: Floats, other: Floats) -> float:
    length = (np.linalg.norm(one) + np.linalg.norm(other)) / 2
    return float(np.linalg.norm(one - other) / max(float(length), 1e-12))
