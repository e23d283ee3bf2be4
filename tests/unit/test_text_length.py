"""What encoders do not read of a long text is found, for every tokenizer and with the templates counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import open_clip
import pytest

from clipstyler.evaluation.text_length import ignored_part, ignored_parts
from clipstyler.pocket.tokenizer import tokenize as pocket
from clipstyler.prompts import templates

CHINESE = "\N{CJK UNIFIED IDEOGRAPH-6C34}\N{CJK UNIFIED IDEOGRAPH-58A8}"


def clip(sentences: list[str]) -> tuple[np.ndarray]:
    return (open_clip.tokenize(sentences).numpy(),)


WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
LONG = f"{WORDS} " * 5 + "watercolor"


@pytest.mark.parametrize("tokenize", [pocket, clip])
@pytest.mark.parametrize("text", ["fire", "a sketch with black pencil", "x" * 40, "\N{FIRE}" * 20, WORDS])
def test_a_text_that_is_read_whole_has_no_ignored_part(tokenize: Callable, text: str) -> None:
    assert ignored_part(tokenize, text, "plain") == ""


@pytest.mark.parametrize("template_set", ["plain", "openai-imagenet"])
@pytest.mark.parametrize(
    ("tokenize", "text"),
    [(pocket, LONG), (clip, LONG), (clip, CHINESE * 100), (clip, "7" * 300), (clip, "qx" * 200)],
)
def test_the_ignored_part_changes_nothing_and_what_is_read_does(
    tokenize: Callable, template_set: str, text: str
) -> None:
    ignored = ignored_part(tokenize, text, template_set)
    assert ignored
    assert text.endswith(ignored)
    read = text[: len(text) - len(ignored)]
    longest = max(templates(template_set), key=len)
    rows = [tokenize([longest.replace("{}", part)])[0].tolist() for part in (text, read, read[: len(read) // 2])]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_templates_leave_less_room_for_the_text() -> None:
    text = f"{WORDS} " * 5
    assert len(ignored_part(clip, text, "openai-imagenet")) > len(ignored_part(clip, text, "plain"))


@pytest.mark.parametrize("tokenize", [pocket, clip])
def test_many_texts_are_checked_with_few_tokenizations_each(tokenize: Callable) -> None:
    calls = 0

    def counted(sentences: list[str]) -> object:
        nonlocal calls
        calls += 1
        return tokenize(sentences)

    texts = [f"{WORDS[:60]} {number}" for number in range(40)] + [f"{LONG} {number}" for number in range(40)]
    found = ignored_parts(counted, texts, "openai-imagenet")
    assert found == [ignored_part(tokenize, text, "openai-imagenet") for text in texts]
    assert calls < 100 + 20 * len(texts)


@pytest.mark.parametrize("tokenize", [pocket, clip])
def test_trying_one_template_finds_what_trying_all_finds(tokenize: Callable) -> None:
    def rows(template: str, text: str) -> list[list[int]]:
        return tokenize([template.replace("{}", text)])[0].tolist()

    def by_trying_all(text: str) -> str:
        cut = [t for t in templates("openai-imagenet") if rows(t, text) == rows(t, f"{text} zebra")]
        if not cut:
            return ""
        longest = max(cut, key=len)
        read = next((n for n in range(len(text)) if rows(longest, text[:n]) == rows(longest, text)), len(text))
        return text[read:].strip()

    texts = [("ab cd ef " * 40)[:length].strip() for length in range(90, 250, 7)]
    expected = [by_trying_all(text) for text in texts]
    assert ignored_parts(tokenize, texts, "openai-imagenet") == expected
    assert "" in expected
    assert any(expected)
