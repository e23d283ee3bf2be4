"""What encoders see in a photo is computed once per photo, size and encoders, within a bound of memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipstyler.acceleration import Accelerations
from clipstyler.config import Start
from clipstyler.encoders.base import EncoderSet
from clipstyler.events import Result
from clipstyler.imaging import Picture
from clipstyler.losses import content_loss
from clipstyler.optimization import Reuse, optimize
from clipstyler.photo_cache import PhotoCache, PhotoKey, key_of
from clipstyler.seen_photo import SeenPhoto, thumbnail
from clipstyler.tints import tints
from tests.running import spec_of
from tests.tiny_encoders import TinyClip, TinyContent, tiny_encoders
from tests.unit.test_stylizer import photo, quick

MANY = 2**30
LARGE = torch.zeros(1000)
COST = LARGE.nbytes + 1024


def key(name: str) -> PhotoKey:
    return PhotoKey("part", name, "clip", "content", "cpu", "off")


def computed(cache: PhotoCache, name: str) -> bool:
    """Ask for an entry; returns whether it had to be computed."""
    calls = []

    def compute() -> tuple[torch.Tensor, ...]:
        calls.append(name)
        return (LARGE,)

    cache.get(key(name), compute)
    return bool(calls)


def test_the_entry_unused_longest_is_evicted_first() -> None:
    cache = PhotoCache(2 * COST)
    assert [computed(cache, name) for name in "abab"] == [True, True, False, False]
    assert computed(cache, "c")
    assert cache.size_bytes == 2 * COST
    assert [computed(cache, name) for name in "bca"] == [False, False, True]


def test_an_entry_larger_than_the_bound_is_not_kept_and_evicts_nothing() -> None:
    cache = PhotoCache(COST)
    assert computed(cache, "a")
    larger = torch.zeros(len(LARGE) + 1)
    assert cache.get(key("b"), lambda: (larger,)) == (larger,)
    assert cache.size_bytes == COST
    assert not computed(cache, "a")


def test_a_key_names_pixels_size_encoders_device_and_accelerations() -> None:
    encoders, picture = tiny_encoders(), photo()
    other_pixels = picture.rgb.copy()
    other_pixels[0, 0, 0] ^= 1
    reshaped = picture.rgb.reshape(picture.width, picture.height, 3)
    clip, content = TinyClip(), TinyContent()
    clip.digest, content.digest = "2" * 64, "3" * 64
    keys = [
        key_of(picture, encoders),
        key_of(picture, encoders, "tints"),
        key_of(Picture(other_pixels), encoders),
        key_of(Picture(reshaped), encoders),
        key_of(picture, replace(encoders, clip=clip)),
        key_of(picture, replace(encoders, content=content)),
        key_of(picture, replace(encoders, device=torch.device("meta"))),
        key_of(picture, replace(encoders, accelerations=Accelerations(bf16=True))),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(Picture(picture.rgb.copy()), tiny_encoders()) == keys[0]


def pixels(encoders: EncoderSet, text: str, photos: PhotoCache | None) -> np.ndarray:
    spec = spec_of(text, encoders, quick(encoders, start=Start.PHOTO), seed=1)
    *_, last = optimize(photo(), spec, encoders, reuse=Reuse(photos=photos))
    assert isinstance(last, Result)
    return last.image.rgb


def test_results_are_the_same_with_and_without_a_cache_and_the_photo_is_seen_once() -> None:
    cache = PhotoCache(MANY)
    for text in ("fire", "gold", "fire"):
        assert np.array_equal(pixels(tiny_encoders(), text, cache), pixels(tiny_encoders(), text, None))
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    pixels(encoders, "ink", cache)
    counts = [len(views) for views in encoders.clip.seen]
    assert counts == [5] * (5 + 3)  # the best tints and the steps, each four patches and a global view


def test_only_what_is_asked_for_is_computed() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    seen = SeenPhoto(photo(), torch.rand(1, 3, 50, 70), encoders, PhotoCache(MANY))
    assert encoders.clip.seen == []
    seen.embedding()
    seen.embedding()
    assert len(encoders.clip.seen) == 1


def test_every_tint_is_seen_as_it_would_be_alone() -> None:
    encoders = tiny_encoders()
    image = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    seen = SeenPhoto(photo(), image, encoders).tints()
    assert seen.embeddings.shape == (31, 24)
    torch.testing.assert_close(seen.embeddings[:1], SeenPhoto(photo(), image, encoders).embedding())
    assert seen.contents[0] == 0
    for number in (3, 17):
        tinted = tints()[number](image)
        features = encoders.content.features
        torch.testing.assert_close(seen.contents[number], content_loss(features(tinted), features(image)))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((128, 64), (128, 64)), ((1000, 500), (128, 64)), ((16, 4000), (16, 128)), ((16, 16), (16, 16))],
)
def test_a_thumbnail_is_small_but_no_side_vanishes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert thumbnail(torch.rand(1, 3, *size)).shape[-2:] == expected
