from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipstyler.encoders.inference import image_of
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation import metrics, quality, zero_shot
from clipstyler.evaluation.text_directions import text_guidance
from clipstyler.imaging import Picture, fit
from tests.running import embed_text, text_direction
from tests.tiny_encoders import tiny_encoders


@pytest.fixture
def encoders() -> TorchEncoders:
    return TorchEncoders(tiny_encoders())


def noise(seed: int, width: int = 512, height: int = 512) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def measured(encoders: TorchEncoders, seed: int = 7, before: Picture | None = None, after: Picture | None = None):
    guidance = text_guidance(encoders, "fire", "a Photo", "plain")
    return metrics.evaluate(before or noise(1), after or noise(2), guidance, encoders, seed)


def test_the_numbers_are_those_of_the_plain_formulas(encoders: TorchEncoders) -> None:
    tiny = tiny_encoders()
    before, after = (torch.from_numpy(noise(seed).rgb).permute(2, 0, 1)[None].float() / 255 for seed in (1, 2))

    def embed(image: torch.Tensor) -> torch.Tensor:
        size = (tiny.clip.image_size,) * 2
        small = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        return F.normalize(tiny.clip.encode_image(small), dim=1)[0]

    text, direction = embed_text(tiny, "fire", "plain"), text_direction(tiny, "fire", "a Photo", "plain")
    crops = [embed(after[:, :, y : y + s, x : x + s]) for x, y, s in metrics.sample_crops(7)]
    start = embed(before)
    features = [tiny.content.features(image)[0] for image in (before, after)]
    expected = {
        "patch_clip_score": sum(float(crop @ text) for crop in crops) / 64,
        "global_similarity": float(F.cosine_similarity(embed(after) - start, direction, dim=0)),
        "patch_similarity": sum(float(F.cosine_similarity(c - start, direction, dim=0)) for c in crops) / 64,
        "content_distance": float(F.mse_loss(*features)),
    }
    found = measured(encoders)
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=2e-5), name


def test_crops_are_of_the_papers_sizes_inside_the_image_and_follow_the_seed() -> None:
    crops = [crop for seed in range(50) for crop in metrics.sample_crops(seed)]
    sides = {side for _, _, side in crops}
    assert len(metrics.sample_crops(0)) == 64
    assert (min(sides), max(sides)) == (64, 224)
    assert all(0 <= x <= 512 - side and 0 <= y <= 512 - side for x, y, side in crops)
    assert metrics.sample_crops(3) == metrics.sample_crops(3) != metrics.sample_crops(4)


def test_an_unchanged_image_has_no_distance_and_full_similarity_of_structure(encoders: TorchEncoders) -> None:
    same = measured(encoders, after=noise(1))
    assert (same.content_distance, same.global_similarity) == (0, 0)
    assert same.ssim == pytest.approx(1)


def test_structural_similarity_falls_with_noise_and_follows_its_formula_on_flat_images() -> None:
    gray, bright = np.full((1, 3, 64, 64), 0.4, np.float32), np.full((1, 3, 64, 64), 0.6, np.float32)
    c1 = 0.01**2
    assert metrics.ssim(gray, bright) == pytest.approx((2 * 0.4 * 0.6 + c1) / (0.4**2 + 0.6**2 + c1), abs=1e-5)
    assert metrics.ssim(gray, gray + np.random.default_rng(0).normal(0, 0.2, gray.shape).astype(np.float32)) < 0.5


def test_the_report_repeats_by_its_seed_and_contains_seed_and_protocol(encoders: TorchEncoders) -> None:
    first, again, other = measured(encoders, 1), measured(encoders, 1), measured(encoders, 2)
    assert first == again
    assert first.patch_clip_score != other.patch_clip_score
    assert (first.seed, first.protocol) == (1, quality.PROTOCOL)


def test_images_of_other_sizes_and_shapes_can_be_measured(encoders: TorchEncoders) -> None:
    found = measured(encoders, before=noise(1, 300, 40), after=noise(2, 90, 130))
    assert all(np.isfinite(value) for value in vars(found).values())


def test_a_larger_photo_is_measured_as_the_optimization_saw_it(encoders: TorchEncoders) -> None:
    photo, stylized = noise(1, 640, 400), noise(2, 256, 160)
    assert measured(encoders, before=photo, after=stylized) == measured(
        encoders, before=fit(photo, 256), after=stylized
    )


def test_labels_may_be_as_long_as_whoever_checked_them_allows(encoders: TorchEncoders) -> None:
    labels = zero_shot.check_labels(["fire", "x" * 600], max_characters=1000)
    view = encoders.views(image_of(noise(1).rgb))
    assert {prediction.label for prediction in zero_shot.classify_view(view, labels, encoders)} == set(labels)
