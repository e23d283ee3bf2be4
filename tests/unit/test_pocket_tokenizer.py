"""The hashed tokenizer and the captions."""

from __future__ import annotations

import numpy as np
import pytest

from clipstyler.pocket.knowledge import known_concepts
from clipstyler.pocket.tokenizer import BUCKETS, MAX_TOKENS, buckets, tokenize, words
from training.pocket.captions import CaptionSampler, gibberish, misspelt


def test_tokens_never_change() -> None:
    # The weights are useless with any other numbers.
    assert list(buckets("fire")) == [10768, 31794, 8417, 22606, 19239, 11037, 15245, 11727]


def test_words_are_lower_case_without_accents_and_fillers() -> None:
    assert list(words("A Café,  in the STYLE of van-Gogh's night!")) == ["cafe", "style", "van", "gogh", "night"]
    assert list(words("звёздная ночь")) == ["звездная", "ночь"]


def test_case_spaces_and_articles_make_no_difference() -> None:
    first, _ = tokenize(["the Starry   Night"])
    second, _ = tokenize(["starry night"])
    assert np.array_equal(first, second)


def test_padding_is_zero_and_hashes_fit() -> None:
    tokens, numbers = tokenize(["fire", "a sketch with black pencil", ""])
    assert tokens.shape == numbers.shape
    assert tokens[2].sum() == 0
    assert np.array_equal(tokens == 0, numbers == 0)
    assert int(tokens.max()) < BUCKETS


@pytest.mark.parametrize("sentence", ["", "!!!", "a", "x" * 500, "fire " * 100])
def test_any_text_gives_a_bounded_row(sentence: str) -> None:
    tokens, _ = tokenize([sentence])
    assert 1 <= tokens.shape[1] <= MAX_TOKENS


def test_a_misspelling_shares_parts_with_the_word() -> None:
    shared = set(buckets("watercolor")) & set(buckets("watercolour"))
    assert len(shared) > len(list(buckets("watercolor"))) / 2


def test_captions_repeat_with_the_seed() -> None:
    first, again = (CaptionSampler(["cat", "dog", "house"]).caption_of_each(np.random.default_rng(4)) for _ in range(2))
    assert first == again
    assert len(first) == len(known_concepts())


def test_misspelling_keeps_the_ends() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        wrong = misspelt("stained glass", rng)
        assert wrong[0] == "s"
        assert wrong[-1] == "s"


def test_a_modified_caption_names_the_modifier() -> None:
    rng = np.random.default_rng(0)
    spoken = [CaptionSampler().modified("fire", "blue", rng) for _ in range(30)]
    assert all(any(word in sentence for word in ("blue", "azure")) for sentence in spoken)
    assert len(set(spoken)) > 5


def test_gibberish_is_one_or_two_words() -> None:
    rng = np.random.default_rng(0)
    assert {len(gibberish(rng).split()) for _ in range(40)} == {1, 2}


def test_no_more_than_what_is_kept_of_a_text_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr("clipstyler.pocket.tokenizer._hash", lambda token: hashed.append(token) or 1)
    ligature = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"  # stands for eighteen characters
    assert tokenize([ligature * 400])[0].shape == (1, MAX_TOKENS)
    assert len(hashed) <= MAX_TOKENS + 1
