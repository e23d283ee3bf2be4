"""The prompt doctor: what it says of known and unknown texts, looks and things, and measured seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clipstyler_lab.anchors import LOOKS, OBJECTS
from clipstyler_lab.doctor import Doctor, SeedSpread, object_probability, seed_spread
from clipstyler_lab.provenance import described

from clipstyler.config import ConfigError
from clipstyler.encoders import registry
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.imaging import decode

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


# Held out: neither these looks nor these things are anchors. pocket was not taught "expressionism" and "baroque".
LOOKS_HELD_OUT = (
    *(
        "ukiyo-e",
        "a pastel drawing",
        "lava",
        "zebra stripes",
        "chalk on a blackboard",
        "golden mosaic",
        "frost",
        "denim",
    ),
    *("low poly", "graffiti", "copper", "a comic book", "claude monet", "origami", "blueprint", "dark oil painting"),
    *("moss", "crystal", "expressionism", "baroque"),
)
OBJECTS_HELD_OUT = (
    *("a cat", "a motorcycle", "a lamp", "a spoon", "a dinosaur", "a boat", "a flower pot", "a soldier", "a laptop"),
    *(
        "a cow",
        "a cup of tea",
        "a church",
        "a violin",
        "a banana",
        "a bus",
        "a knife",
        "a tiger",
        "a mountain",
        "a king",
    ),
    "the Eiffel Tower",
)


@pytest.fixture(scope="module")
def encoders() -> TorchEncoders:
    return TorchEncoders(registry.load("pocket"))


@pytest.fixture(scope="module")
def doctor(encoders: TorchEncoders) -> Doctor:
    return Doctor(encoders)


def results(encoders: TorchEncoders) -> dict[str, object]:
    rows = [
        {"text": "fire", "seeds": 4, "style statistics": 0.3, "pixels": 0.1},
        {"text": "gold", "seeds": 4, "style statistics": 0.1, "pixels": 0.2},
        {"text": "ice", "seeds": 4, "style statistics": 0.2, "pixels": 0.3},
        {"text": "photo to result", "seeds": None, "style statistics": 9.0, "pixels": 9.0},
    ]
    return {
        "made with": {"calibration": described(encoders.calibration)},
        "digests": [encoders.digest],
        "sections": {"consistency": {"tables": [{"rows": rows}]}},
    }


def test_a_known_look_is_known_and_nearest_to_itself(doctor: Doctor) -> None:
    found = doctor.check("stained glass")
    assert found.confidence is not None
    assert found.confidence > 0.5
    assert found.nearest[0].name == "stained glass"
    assert found.nearest[0].cosine == pytest.approx(1, abs=1e-4)
    assert any("know this text" in finding for finding in found.findings)


def test_an_unknown_text_is_called_unknown(doctor: Doctor) -> None:
    found = doctor.check("quarterly tax report")
    assert found.confidence is not None
    assert found.confidence < 0.5
    assert any("do not know" in finding for finding in found.findings)


def test_a_text_that_means_a_photo_changes_little(doctor: Doctor) -> None:
    near, far = doctor.check("a realistic photograph"), doctor.check("fire")
    assert near.distance < near.usual_distance[0] < far.distance
    assert any("little will change" in finding for finding in near.findings)


def test_a_photo_is_compared_with_both_texts(doctor: Doctor) -> None:
    cat = decode((EXAMPLES / "cat.jpg").read_bytes())
    assert doctor.check("fire").photo_margin is None
    margin = doctor.check("fire", cat).photo_margin
    assert margin is not None
    assert margin < 0


def test_seeds_are_looked_up_for_the_same_encoders_only(encoders: TorchEncoders) -> None:
    measured, digest, calibration = results(encoders), encoders.digest, encoders.calibration
    assert seed_spread("Fire", measured, digest, calibration) == SeedSpread("fire", 0.3, 0.1, 0.2, True)
    assert seed_spread("fire", measured, "0" * 64, calibration) is None
    assert seed_spread("wood", measured, digest, calibration) is None
    assert seed_spread("fire", {**measured, "sections": {"ablation": {}}}, digest, calibration) is None
    doctor = Doctor(encoders, measured)
    assert any("more than usual" in finding for finding in doctor.check("fire").findings)
    assert any("less than usual" in finding for finding in doctor.check("gold").findings)
    assert any("not measured" in finding for finding in doctor.check("wood").findings)


@pytest.mark.parametrize("changes", [{"weight_content": 400.0}, {"distinctness": 0.0}, {"input_noise": 0.04}])
def test_seeds_that_were_measured_with_another_calibration_are_called_so(
    encoders: TorchEncoders, changes: dict[str, float]
) -> None:
    measured = results(encoders)
    older = replace(encoders.calibration, **changes)
    found = seed_spread("fire", {**measured, "made with": {"calibration": described(older)}}, encoders.digest, older)
    assert found == SeedSpread("fire", 0.3, 0.1, 0.2, True)
    for made_with in ({"calibration": described(older)}, {}):  # results did not name it before
        doctor = Doctor(encoders, {**measured, "made with": made_with})
        assert any("another calibration" in finding for finding in doctor.check("fire").findings)
    assert not any("another calibration" in finding for finding in Doctor(encoders, measured).check("fire").findings)


def test_the_bundled_measurements_belong_to_the_bundled_encoders(doctor: Doctor) -> None:
    assert doctor.check("fire").seeds is not None


def test_things_are_told_from_looks_that_were_held_out(doctor: Doctor) -> None:
    """Measured: 17 of 20 things, and 1 of 20 looks ("baroque"), are called things."""
    things, looks = (
        [text for text in texts if doctor.check(text).reads_like_object] for texts in (OBJECTS_HELD_OUT, LOOKS_HELD_OUT)
    )
    assert len(things) >= 15
    assert len(looks) <= 3
    assert not {*LOOKS, *OBJECTS} & {*LOOKS_HELD_OUT, *OBJECTS_HELD_OUT}
    assert any("like a thing" in finding for finding in doctor.check("a motorcycle").findings)


def test_a_text_between_anchors_is_undecided_and_beside_one_is_clear() -> None:
    axes = np.eye(4, dtype=np.float32)
    looks, objects = axes[[0, 0, 0]], axes[[1, 1, 1]]
    middle = (axes[0] + axes[1]) / np.sqrt(np.float32(2))
    assert object_probability(middle, (looks, objects), 20) == pytest.approx(0.5)
    assert object_probability(axes[1], (looks, objects), 20) > 0.99
    assert object_probability(axes[0], (looks, objects), 20) < 0.01


def test_texts_that_cannot_be_used_are_refused(doctor: Doctor) -> None:
    with pytest.raises(ConfigError, match="empty"):
        doctor.check(" ")


def test_anchors_are_different_texts() -> None:
    assert len({*LOOKS, *OBJECTS}) == len(LOOKS) + len(OBJECTS)
