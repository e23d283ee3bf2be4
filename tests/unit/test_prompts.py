"""Texts, templates and directions."""

import unicodedata
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from clipstyler import prompts
from clipstyler.options import ConfigError
from tests.running import embed_text, text_direction
from tests.tiny_encoders import TinyClip, tiny_encoders


@given(st.text())
def test_normalizing_twice_changes_nothing_more(text: str) -> None:
    once = prompts.normalize(text)
    assert prompts.normalize(once) == once
    assert unicodedata.is_normalized("NFC", once)


def test_texts_are_brought_to_one_form() -> None:
    assert prompts.normalize("  cafe\u0301 \n at\tnight ") == "café at night"


@pytest.mark.parametrize(
    ("style", "source", "field", "message"),
    [
        ("", "a Photo", "style_text", "is empty"),
        (" \n ", "a Photo", "style_text", "is empty"),
        ("fire", "", "source_text", "is empty"),
        ("x" * 501, "a Photo", "style_text", "has 501 characters, the limit is 500"),
        ("a\x00b", "a Photo", "style_text", "control characters"),
        ("A  photo", "a Photo", "style_text", "is the same as the source text"),
    ],
)
def test_a_text_that_cannot_be_used_names_its_field(style: str, source: str, field: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        prompts.check_texts(style, source)
    assert caught.value.field == field


def test_a_text_in_normal_form_is_within_its_limit_and_is_accepted_again() -> None:
    lengthened = "\u0958"  # two characters in NFC
    normal = prompts.check_text("style_text", lengthened * 250)
    assert prompts.check_text("style_text", normal) == normal
    with pytest.raises(ConfigError, match="has 502 characters, the limit is 500"):
        prompts.check_text("style_text", lengthened * 251)


@pytest.mark.parametrize(
    ("template", "text", "sentence"),
    [
        ("a bad photo of a {}.", "a Photo", "a bad photo of a Photo."),
        ("a bad photo of a {}.", "The Starry Night", "a bad photo of a Starry Night."),
        ("a photo of {}.", "an oil painting", "a photo of an oil painting."),
        ("{}", "a sketch", "a sketch"),
        ("the plastic {}.", "fire", "the plastic fire."),
        ("a {}.", "Another World", "a Another World."),
        ("a {}.", "{0.__class__} a", "a {0.__class__} a."),
    ],
)
def test_templates_are_filled_without_doubling_an_article(template: str, text: str, sentence: str) -> None:
    assert prompts.fill_template(template, text) == sentence


def test_the_imagenet_set_has_clips_eighty_templates() -> None:
    filled = [prompts.fill_template(t, "fire") for t in prompts.templates("openai-imagenet")]
    assert len(set(filled)) == 80
    assert "a photo of many fire." in filled
    assert all("{" not in sentence for sentence in filled)


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="template_set"):
        prompts.templates("none")


def test_an_embedding_is_the_normalized_mean_of_the_raw_embeddings() -> None:
    clip = TinyClip()
    sentences = [prompts.fill_template(t, "fire") for t in prompts.templates("openai-imagenet")]
    raw = clip.encode_text(sentences)
    expected = F.normalize(sum(raw) / len(raw), dim=0)
    torch.testing.assert_close(embed_text(tiny_encoders(), "fire", "openai-imagenet"), expected)


def test_a_direction_points_from_source_to_style() -> None:
    encoders = tiny_encoders()
    forth = text_direction(encoders, "fire", "a Photo", "plain")
    back = text_direction(encoders, "a Photo", "fire", "plain")
    torch.testing.assert_close(forth, -back)


def test_texts_that_mean_the_same_to_the_encoders_are_refused() -> None:
    class Deaf(TinyClip):
        def encode_text(self, sentences: object) -> torch.Tensor:
            return torch.ones(len(list(sentences)), 4)

    with pytest.raises(ConfigError, match="means the same"):
        text_direction(replace(tiny_encoders(), clip=Deaf()), "fire", "water", "plain")


def test_both_texts_are_checked_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        prompts.check_texts("", "x" * 501)
    assert [violation.field for violation in caught.value.violations] == ["style_text", "source_text"]


@pytest.mark.parametrize(
    "text", ["\u200b\u200d", "\ufeff", "\u3164", "\u2800 \u2800", "\u0301", "\u2066\u2069", "\u00ad"]
)
def test_invisible_texts_are_refused(text):
    with pytest.raises(ConfigError, match=r"invisible|empty"):
        prompts.check_text("style_text", text)


@pytest.mark.parametrize(
    "text", ["\N{FIRE}", "...", "\u0915\u094d\u0937", "7", "\N{EYE}\ufe0f\u200d\N{LEFT SPEECH BUBBLE}", "\u00e9"]
)
def test_whatever_is_visible_is_accepted(text):
    assert prompts.check_text("style_text", text)


def test_bytes_that_are_no_unicode_are_refused():
    with pytest.raises(ConfigError, match="not Unicode"):
        prompts.check_text("style_text", "fire \udcff")
