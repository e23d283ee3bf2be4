"""What all looks have in common is taken away from a text, and what is left tells similar looks apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipstyler.composition import Guide
from clipstyler.config import Calibration, resolve
from clipstyler.distinctness import AverageLook, distinct
from clipstyler.encoders import registry
from clipstyler.encoders.base import EncoderSet
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.text_directions import text_guidance
from clipstyler.imaging import Picture
from clipstyler.pocket.knowledge import known_concepts
from tests.running import stylize


@pytest.fixture(scope="module")
def encoders() -> EncoderSet:
    return registry.load("pocket")


def photo() -> Picture:
    return Picture(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def test_a_share_of_the_average_is_taken_away_and_the_length_stays() -> None:
    vector, average = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    rest = distinct(vector, average, 0.5)
    assert rest.norm() == pytest.approx(5.0)
    assert (rest / rest.norm()).tolist() == pytest.approx((np.array([0.1, 0.8, 0]) / np.hypot(0.1, 0.8)).tolist())
    assert torch.allclose(distinct(vector, average, 0), vector)


def test_the_average_look_is_near_to_all_looks(encoders: EncoderSet) -> None:
    average = AverageLook.of(encoders.clip)
    looks = F.normalize(encoders.clip.encode_text(known_concepts()[1:]), dim=1)
    assert average.embedding.norm() == pytest.approx(1, abs=1e-5)
    assert average.direction.norm() == pytest.approx(1, abs=1e-5)
    assert float((looks @ average.embedding).mean()) > 0.6


def test_similar_looks_are_told_apart(encoders: EncoderSet) -> None:
    """Each look is farther from the one that it is confused with most."""
    average = AverageLook.of(encoders.clip)
    looks = F.normalize(encoders.clip.encode_text(known_concepts()[1:]), dim=1)
    rest = torch.stack([distinct(look, average.embedding, 0.4) for look in looks])
    before, after = (1 - (rows @ looks.T).fill_diagonal_(-1).amax(1) / (rows * looks).sum(1) for rows in (looks, rest))
    assert float((after > before).float().mean()) > 0.95
    assert float(after.mean()) > 1.15 * float(before.mean())


def test_the_direction_and_the_embedding_of_a_text_are_both_distinct(encoders: EncoderSet) -> None:
    guidance = text_guidance(TorchEncoders(encoders), "fire", "a Photo", "plain")
    average = AverageLook.of(encoders.clip)
    config = resolve(encoders.calibration, distinctness=0.3, text_share=0.5)
    guide = Guide.of(guidance, config, encoders)
    assert guide.text is not None
    assert torch.equal(guide.direction, distinct(torch.tensor(guidance.direction), average.direction, 0.3))
    assert torch.equal(guide.text, distinct(torch.tensor(guidance.style), average.embedding, 0.3))
    assert Guide.of(guidance, resolve(encoders.calibration, text_share=0), encoders).text is None


def test_an_option_decides_how_much_and_the_paper_takes_nothing(encoders: EncoderSet) -> None:
    def run(**options: float) -> bytes:
        config = resolve(encoders.calibration, size=64, steps=2, patches=3, **options)
        *_, last = stylize(photo(), "fire", encoders, config, seed=1)
        return last.image.rgb.tobytes()

    calibrated, stated, none = run(), run(distinctness=encoders.calibration.distinctness), run(distinctness=0.0)
    assert calibrated == stated != none
    assert Calibration().distinctness == 0
