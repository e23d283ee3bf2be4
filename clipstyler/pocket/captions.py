"""The sentences that name a concept in training: its wordings in templates, now and then misspelt."""

from __future__ import annotations

from numpy.random import Generator

from clipstyler.pocket.knowledge import PHOTO, WORDINGS, known_concepts

PLAIN = "{}"
TEMPLATES = (
    "{}",
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
_PHOTO_TEMPLATES = (
    "{}",
    "a good {}",
    "a bad {}",
    "a close-up {}",
    "the {}",
    "a cropped {}",
    "a bright {}",
    "a dark {}",
)

_SHARE_PLAIN = 0.5
_SHARE_MISSPELT = 0.12


def caption(concept: str, rng: Generator) -> str:
    """Draw a sentence that names a concept."""
    wordings = WORDINGS[concept]
    templates = _PHOTO_TEMPLATES if concept == PHOTO else TEMPLATES
    template = PLAIN if rng.random() < _SHARE_PLAIN else templates[rng.integers(len(templates))]
    sentence = template.format(wordings[rng.integers(len(wordings))])
    return misspelt(sentence, rng) if rng.random() < _SHARE_MISSPELT else sentence


def caption_of_each(rng: Generator) -> list[str]:
    """Draw one sentence for every concept, in their order."""
    return [caption(concept, rng) for concept in known_concepts()]


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
