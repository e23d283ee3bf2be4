"""The quality report of a stylization; `clipstyler.evaluation.metrics` computes it. Light to import."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL = 2
"""Raised whenever the same images and seed would give other numbers."""


@dataclass(frozen=True)
class QualityReport:
    """QualityReport of one stylization.

    Attributes
    ----------
    patch_clip_score
        Mean cosine of the text with random crops, -1 to 1: the paper's headline number.
    global_similarity
        Cosine between the directions in which the whole image and the text moved, -1 to 1.
    patch_similarity
        The same for the crops, on average.
    content_distance
        Mean squared difference of the content features, summed over their layers; 0: unchanged.
    ssim
        Structural similarity of both images, at most 1.
    seed, protocol
        Of the crops, and of these rules.
    """

    patch_clip_score: float
    global_similarity: float
    patch_similarity: float
    content_distance: float
    ssim: float
    seed: int
    protocol: int = PROTOCOL
