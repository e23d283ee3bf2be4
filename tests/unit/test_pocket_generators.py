"""The drawn training pictures: right shapes and ranges, repeatable, and every concept has all its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from clipstyler.pocket.concepts import MEDIA, TEXTURES
from clipstyler.pocket.dataset import chunk, draw
from clipstyler.pocket.knowledge import PHOTO, WORDINGS, known_concepts
from clipstyler.pocket.generators.noise import Array
from clipstyler.pocket.photos import held_out_photos, random_view, with_fault

SIZE = 64


@pytest.fixture(scope="module")
def photos() -> list[Array]:
    return held_out_photos()


def test_every_concept_is_drawn_and_worded() -> None:
    assert {PHOTO} | TEXTURES.keys() | MEDIA.keys() == set(known_concepts())
    assert not TEXTURES.keys() & MEDIA.keys()
    assert all(len(wordings) >= 5 for wordings in WORDINGS.values())


def test_no_two_concepts_share_a_wording() -> None:
    wordings = [wording.casefold() for each in WORDINGS.values() for wording in each]
    assert len(wordings) == len(set(wordings))


@pytest.mark.parametrize("concept", known_concepts())
def test_a_concept_draws_pictures_in_range(concept: str, photos: list[Array]) -> None:
    for number in range(4):
        picture = draw(concept, np.random.default_rng(number), photos, SIZE)
        assert picture.shape == (SIZE, SIZE, 3)
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert picture.std() > 0.01


@pytest.mark.parametrize("concept", known_concepts())
def test_a_concept_draws_the_same_from_the_same_seed(concept: str, photos: list[Array]) -> None:
    first, again, other = (draw(concept, np.random.default_rng(seed), photos, SIZE) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_drawing_leaves_the_global_generator_alone(photos: list[Array]) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    chunk(0, 0, 40, photos)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_a_chunk_depends_on_seed_and_number_only(photos: list[Array]) -> None:
    first, again, next_one = chunk(3, 1, 8, photos), chunk(3, 1, 8, photos), chunk(3, 2, 8, photos)
    np.testing.assert_array_equal(first.pictures, again.pictures)
    np.testing.assert_array_equal(first.concepts, again.concepts)
    assert not np.array_equal(first.pictures, next_one.pictures)


def test_a_pencil_sketch_has_no_colour(photos: list[Array]) -> None:
    for number in range(5):
        picture = draw("pencil sketch", np.random.default_rng(number), photos, SIZE)
        assert (picture.max(-1) - picture.min(-1)).max() < 0.08


def test_faulty_photos_keep_the_shape_of_the_photo(photos: list[Array]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        photo = random_view(rng, photos, SIZE)
        faulty = with_fault(rng, photo, TEXTURES["fire"](rng, SIZE))
        assert faulty.shape == photo.shape
        assert 0 <= faulty.min() <= faulty.max() <= 1


def test_the_model_card_lists_every_concept() -> None:
    card = (Path(__file__).parents[2] / "docs" / "pocket.md").read_text()
    table = card.split("## What it knows")[1].split("##")[0]
    assert [concept for concept in known_concepts() if concept not in table] == []
