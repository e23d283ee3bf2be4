"""What encoders do not read of a long text is found, for every tokenizer and with the templates counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import open_clip
import pytest

from clipstyler.evaluation.text_length import ignored_part
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
