"""The drawn training pictures: right shapes and ranges, repeatable, and every concept has all its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training_tools import MISSING

pytest.importorskip("scipy", reason=MISSING)
pytest.importorskip("skimage", reason=MISSING)
pytest.importorskip("sklearn", reason=MISSING)

from clipstyler.pocket.knowledge import PHOTO, known_concepts, modifiers, wordings
from training.pocket.concepts import MEDIA, TEXTURES
from training.pocket.dataset import chunk, draw
from training.pocket.generators.noise import luminance
from training.pocket.modifiers import MODIFIERS
from training.pocket.photos import FITTED, HELD_OUT, TRAINING, Sources, held_out_photos, random_view, with_fault
from training.pocket.sources import split_of
from training.pocket.unseen import unseen_wordings

SIZE = 64


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(held_out_photos(), {})


def test_every_concept_is_drawn_and_worded() -> None:
    assert {PHOTO} | TEXTURES.keys() | MEDIA.keys() == set(known_concepts())
    assert not TEXTURES.keys() & MEDIA.keys()
    assert all(len(each) >= 5 for each in wordings().values())
    assert len(known_concepts()) > 80
    assert MODIFIERS.keys() == modifiers().keys()


def test_no_two_concepts_share_a_wording() -> None:
    everything = [wording.casefold() for each in wordings().values() for wording in each]
    assert len(everything) == len(set(everything))


def test_unseen_wordings_are_unseen() -> None:
    seen = {wording.casefold() for each in wordings().values() for wording in each}
    assert unseen_wordings().keys() <= set(known_concepts())
    assert not seen & {wording.casefold() for each in unseen_wordings().values() for wording in each}


@pytest.mark.parametrize("concept", known_concepts())
def test_a_concept_draws_pictures_in_range(concept: str, sources: Sources) -> None:
    for number in range(4):
        picture = draw(concept, np.random.default_rng(number), sources, SIZE)
        assert picture.shape == (SIZE, SIZE, 3)
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert picture.std() > 0.01


@pytest.mark.parametrize("concept", known_concepts())
def test_a_concept_draws_the_same_from_the_same_seed(concept: str, sources: Sources) -> None:
    first, again, other = (draw(concept, np.random.default_rng(seed), sources, SIZE) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_drawing_leaves_the_global_generator_alone(sources: Sources) -> None:
    before = np.random.get_state()[1].copy()
    chunk(0, 0, 40, sources)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_a_chunk_depends_on_seed_and_number_only(sources: Sources) -> None:
    first, again, next_one = chunk(3, 1, 8, sources), chunk(3, 1, 8, sources), chunk(3, 2, 8, sources)
    np.testing.assert_array_equal(first.pictures, again.pictures)
    np.testing.assert_array_equal(first.concepts, again.concepts)
    assert not np.array_equal(first.pictures, next_one.pictures)


def test_a_pencil_sketch_has_no_color(sources: Sources) -> None:
    for number in range(5):
        picture = draw("pencil sketch", np.random.default_rng(number), sources, SIZE)
        assert (picture.max(-1) - picture.min(-1)).max() < 0.08


@pytest.mark.parametrize("modifier", MODIFIERS)
def test_a_modifier_changes_colors_and_keeps_shapes(modifier: str, sources: Sources) -> None:
    rng = np.random.default_rng(3)
    picture = draw("mosaic", rng, sources, SIZE)
    changed = MODIFIERS[modifier](rng, picture)
    assert changed.shape == picture.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert np.abs(changed - picture).mean() > 0.03
    assert np.corrcoef(luminance(changed).ravel(), luminance(picture).ravel())[0, 1] > 0.7


def test_real_textures_are_used_where_there_are_some(sources: Sources) -> None:
    marked = np.zeros((120, 120, 3), np.float32)
    marked[..., 2] = 1
    with_real = Sources(sources.photos, {"wood": [marked] * 6})
    drawn = [draw("wood", np.random.default_rng(number), with_real, SIZE) for number in range(40)]
    blue = sum(bool((picture == (0, 0, 1)).all()) for picture in drawn)
    assert 1 <= blue <= 15


def test_faulty_photos_keep_the_shape_of_the_photo(sources: Sources) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        photo = random_view(rng, sources.photos, SIZE)
        faulty = with_fault(rng, photo, TEXTURES["fire"](rng, SIZE))
        assert faulty.shape == photo.shape
        assert 0 <= faulty.min() <= faulty.max() <= 1


def test_the_model_card_lists_every_concept() -> None:
    card = (Path(__file__).parents[2] / "docs" / "pocket.md").read_text()
    table = card.split("## What it knows")[1].split("##")[0]
    assert [concept for concept in known_concepts() if concept not in table] == []


def test_bundled_photos_are_trained_on_and_held_out_as_those_of_a_folder() -> None:
    assert {split_of(name) for name in TRAINING} == {"train"}
    assert {split_of(name) for name in HELD_OUT} == {"test"}
    assert set(TRAINING) < set(FITTED)
    assert len(Sources.load().photos) == len(TRAINING)
