"""Quality of a stylization: the metrics of the paper's tables, from both images and the text. No PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from clipstyler.encoders.inference import Floats, InferenceEncoders, image_of, l2_normalize
from clipstyler.evaluation.quality import QualityReport
from clipstyler.evaluation.text_directions import TextGuidance
from clipstyler.imaging import Picture, fit

SIDE = 512
CROPS = 64
SMALLEST_CROP, LARGEST_CROP = 64, 224
_BATCH = 16


def evaluate(
    content: Picture,
    stylized: Picture,
    guidance: TextGuidance,
    encoders: InferenceEncoders,
    seed: int = 0,
) -> QualityReport:
    """Measure a stylization by protocol 2.

    A photo larger than the stylized image is first brought to its longest side, as the optimization saw it. Both are
    then squashed to 512 x 512 (the paper's size); 64 crops with sides of 64 to 224 px, uniform in side and
    place, are drawn from the stylized one. Texts go through the templates of the encoders' calibration.

    Parameters
    ----------
    content, stylized
        Any size.
    guidance
        Text direction and embedding of the style text, by the same encoders.
    encoders
        Any backend.
    seed
        Of the crops.
    """
    return report_of(embedded_views(content, stylized, encoders, seed), guidance, encoders, seed)


class EmbeddedViews(NamedTuple):
    """Both images as the protocol compares them.

    Attributes
    ----------
    before, after
        Photo and stylized image, float32 (1, 3, 512, 512) in [0, 1].
    start, end
        L2-normalized embeddings of the whole images, (D,).
    patches
        Those of the random crops of the stylized one, (64, D).
    crops
        Left, top and side of these crops in pixels.
    """

    before: Floats
    after: Floats
    start: Floats
    end: Floats
    patches: Floats
    crops: Sequence[tuple[int, int, int]]


def embedded_views(content: Picture, stylized: Picture, encoders: InferenceEncoders, seed: int = 0) -> EmbeddedViews:
    """Bring both images to the size of the protocol, and embed them and the crops; parameters as `evaluate`."""
    seen = fit(content, max(stylized.width, stylized.height))
    before, after = _canvas(seen), _canvas(stylized)
    crops = sample_crops(seed)
    views = [before, after, *(after[:, :, y : y + side, x : x + side] for x, y, side in crops)]
    start, end, *moved = l2_normalize(_embed(views, encoders))
    return EmbeddedViews(before, after, start, end, np.stack(moved), crops)


def report_of(views: EmbeddedViews, guidance: TextGuidance, encoders: InferenceEncoders, seed: int) -> QualityReport:
    """Measure views that are embedded already; parameters as `evaluate`."""
    direction = l2_normalize(guidance.direction)
    return QualityReport(
        patch_clip_score=float((views.patches @ guidance.style).mean()),
        global_similarity=float(l2_normalize(views.end - views.start) @ direction),
        patch_similarity=float(patch_similarities(views, direction).mean()),
        content_distance=content_distance(views.before, views.after, encoders),
        ssim=ssim(views.before, views.after),
        seed=seed,
    )


def patch_similarities(views: EmbeddedViews, direction: Floats) -> Floats:
    """Cosine of each crop's direction from the photo with a unit direction, (64,)."""
    similarities: Floats = l2_normalize(views.patches - views.start) @ direction
    return similarities


def sample_crops(seed: int) -> list[tuple[int, int, int]]:
    """Draw the crops of the protocol: left, top and side in pixels of the 512 x 512 image."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(SMALLEST_CROP, LARGEST_CROP, CROPS, endpoint=True)
    corners = rng.integers(0, SIDE - sides, (2, CROPS), endpoint=True)
    return [(int(x), int(y), int(side)) for x, y, side in zip(*corners, sides, strict=True)]


def content_distance(before: Floats, after: Floats, encoders: InferenceEncoders) -> float:
    """Mean squared difference of content features, summed over layers."""
    layers = zip(encoders.features(before), encoders.features(after), strict=True)
    return float(sum(np.mean((one - other) ** 2) for one, other in layers))


def ssim(before: Floats, after: Floats) -> float:
    """Structural similarity as Wang et al. (2004) have it: Gaussian windows of 1.5 px, mean over the channels."""
    value = structural_similarity(
        before[0], after[0], channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


def _canvas(picture: Picture) -> Floats:
    image = Image.fromarray(picture.rgb)
    return image_of(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))


def _embed(images: Sequence[Floats], encoders: InferenceEncoders) -> Floats:
    views = np.concatenate([encoders.views(image) for image in images])
    parts = [encoders.encode_image(views[i : i + _BATCH]) for i in range(0, len(views), _BATCH)]
    return np.concatenate(parts)
