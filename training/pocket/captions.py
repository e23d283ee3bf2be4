"""The sentences that name a concept in training: its wordings in templates, with subjects, now and then misspelt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from clipstyler.pocket.knowledge import PHOTO, known_concepts, modifiers, wordings

TEMPLATES = (
    "{} style",
    "in the style of {}",
    "a photo of {}",
    "a bad photo of {}",
    "a close-up photo of {}",
    "art of {}",
    "a painting of {}",
    "a rendering of {}",
    "a picture in {} style",
    "made of {}",
    "a texture of {}",
    "{} texture",
    "the {}",
    "a drawing in {}",
    "{} effect",
    "an artistic {}",
    "looks like {}",
)
# A photo is no style: it keeps out of the sentences that say so.
_PHOTO_TEMPLATES = ("a good {}", "a bad {}", "a close-up {}", "the {}", "a cropped {}", "a bright {}", "a dark {}")
# What a picture shows is not how it looks.
_SUBJECT_TEMPLATES = ("{} of {}", "{} with a {}", "a {} in {}", "{}, {}", "{} as {}")
# As users write it, in either spelling.
_MODIFIER_TEMPLATES = ("{0} {1}", "{1} in {0}", "{1} with {0} colours", "{0} coloured {1}", "{1}, {0}", "{0} {1} style")

_SHARE_PLAIN = 0.5
_SHARE_SUBJECT = 0.12
_SHARE_MISSPELT = 0.12


class CaptionSampler:
    """Draws captions.

    Parameters
    ----------
    subjects
        Words that name things and no look, to be put beside wordings; may be empty.
    """

    def __init__(self, subjects: Sequence[str] = ()) -> None:
        self._subjects = subjects

    def caption(self, concept: str, rng: Generator) -> str:
        """Draw a sentence that names a concept."""
        wording = _one_of(wordings()[concept], rng)
        draw = rng.random()
        if draw < _SHARE_PLAIN:
            sentence = wording
        elif draw < _SHARE_PLAIN + _SHARE_SUBJECT and self._subjects and concept != PHOTO:
            pair = [wording, _one_of(self._subjects, rng)]
            template = _one_of(_SUBJECT_TEMPLATES, rng)
            sentence = template.format(*(reversed(pair) if template.startswith("a {}") else pair))
        else:
            sentence = _one_of(_PHOTO_TEMPLATES if concept == PHOTO else TEMPLATES, rng).format(wording)
        return misspelt(sentence, rng) if rng.random() < _SHARE_MISSPELT else sentence

    def modified(self, concept: str, modifier: str, rng: Generator) -> str:
        """Draw a sentence that names a concept in other colors or light."""
        word = _one_of(modifiers()[modifier], rng)
        if concept == PHOTO and rng.random() < 0.5:
            return word
        return _one_of(_MODIFIER_TEMPLATES, rng).format(word, _one_of(wordings()[concept], rng))

    def caption_of_each(self, rng: Generator) -> list[str]:
        """Draw one sentence for every concept, in their order."""
        return [self.caption(concept, rng) for concept in known_concepts()]


def _one_of(choices: Sequence[str], rng: Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def misspelt(sentence: str, rng: Generator) -> str:
    """Drop, double or swap one letter that is neither first nor last."""
    if len(sentence) < 5:
        return sentence
    place, kind = int(rng.integers(1, len(sentence) - 2)), rng.integers(3)
    head, letter, tail = sentence[:place], sentence[place], sentence[place + 1 :]
    if kind == 0:
        return head + tail
    if kind == 1:
        return head + letter * 2 + tail
    return head + tail[0] + letter + tail[1:]


def gibberish(rng: Generator) -> str:
    """Draw a word or two that mean nothing."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ("".join(rng.choice(letters, int(rng.integers(3, 11)))) for _ in range(int(rng.integers(1, 3))))
    return " ".join(words)
