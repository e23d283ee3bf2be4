"""Texts as embeddings: prompt ensembling, the direction from a source to a style text, and what a stylization needs.

One implementation for every backend. Source of the direction: CLIPstyler, section 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clipstyler.encoders.description import TextConfidence
from clipstyler.encoders.inference import Floats, InferenceEncoders, in_batches, l2_normalize
from clipstyler.options import ConfigError
from clipstyler.prompts import fill_template, templates

# Unit embeddings closer than this are one text written twice.
_SMALLEST_DIRECTION = 1e-3


class TextGuidance(NamedTuple):
    """What a stylization needs from its texts.

    Attributes
    ----------
    direction
        Text direction dT, float32 (D,).
    style
        Unit embedding of the style text, float32 (D,).
    confidence
        How well the encoders know the style text; None if they cannot judge that.
    """

    direction: Floats
    style: Floats
    confidence: TextConfidence | None = None


def embed_text(encoders: InferenceEncoders, text: str, template_set: str) -> Floats:
    """Embed a text: the normalized mean of the raw embeddings of all its sentences, float32 (D,).

    Prompt ensembling as in the CLIPstyler code: mean first, then normalized. Each text is encoded in batches of its
    own, so that the same text gives the same bits whatever else is asked for.
    """
    sentences = [fill_template(template, text) for template in templates(template_set)]
    return l2_normalize(in_batches(encoders.encode_text, sentences).mean(axis=0))


def text_guidance(encoders: InferenceEncoders, style_text: str, source_text: str, template_set: str) -> TextGuidance:
    """Compute what a stylization needs from its texts.

    Raises
    ------
    ConfigError
        To these encoders both texts mean the same.
    """
    style = embed_text(encoders, style_text, template_set)
    direction: Floats = style - embed_text(encoders, source_text, template_set)
    if float(np.linalg.norm(direction)) < _SMALLEST_DIRECTION:
        raise ConfigError(
            "style_text",
            f"means the same as the source text {source_text!r} to the encoders {encoders.name!r}: "
            "describe another look",
        )
    return TextGuidance(direction, style, encoders.confidence(style_text))


def text_direction(encoders: InferenceEncoders, style_text: str, source_text: str, template_set: str) -> Floats:
    """Return the direction dT = E_T(style) - E_T(source), float32 (D,); raises as `text_guidance`."""
    return text_guidance(encoders, style_text, source_text, template_set).direction
