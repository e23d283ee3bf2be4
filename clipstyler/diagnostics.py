"""Warnings of a stylization.

They are about damaged photos, texts that the encoders do not know or not read whole, and results that do not match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clipstyler.config import Calibration, StylizeConfig
from clipstyler.encoders.description import TextConfidence
from clipstyler.encoders.inference import InferenceEncoders
from clipstyler.evaluation.text_length import ignored_part
from clipstyler.events import Losses, Warning
from clipstyler.imaging import Picture
from clipstyler.prompts import shortened
from clipstyler.spec import StylizationSpec

_FAMILIAR = 0.5  # probability below which a text counts as unknown


def damaged_photos(photos: Sequence[Picture]) -> Iterator[Warning]:
    """Warn about faults of the files that photos were read from; of several photos, each is named by its number."""
    for number, photo in enumerate(photos, 1):
        for problem in photo.warnings:
            yield Warning(
                "PHOTO_DAMAGED", problem if len(photos) == 1 else f"photo {number} of {len(photos)}: {problem}"
            )


def unfamiliar_text(encoder_set: str, style_text: str, confidence: TextConfidence | None) -> Iterator[Warning]:
    """Warn about a style text that encoders of a limited vocabulary do not know."""
    if confidence is not None and confidence.probability < _FAMILIAR:
        nearest = ", ".join(repr(name) for name in confidence.nearest)
        yield Warning(
            "TEXT_UNFAMILIAR",
            f"the encoders {encoder_set!r} do not know {style_text!r}; the nearest looks they know are {nearest}",
        )


def cut_texts(encoders: InferenceEncoders, spec: StylizationSpec) -> Iterator[Warning]:
    """Warn about texts of which the encoders read only the beginning."""
    named = [*zip(("style text", "region's text"), spec.texts, strict=False), ("source text", spec.source_text)]
    for name, text in named:
        if ignored := ignored_part(encoders.tokens, text, spec.config.template_set):
            yield Warning(
                "TEXT_CUT",
                f"the {name} is longer than the encoders {encoders.name!r} read: they ignore {shortened(ignored)!r}",
            )


def weak_result(calibration: Calibration, config: StylizeConfig, losses: Losses) -> Iterator[Warning]:
    """Warn if the patches still do not match the text at the end: another seed often helps."""
    limit = calibration.weak_patch_loss
    if config.weight_patch and limit is not None and losses.patch > limit:
        yield Warning(
            "WEAK_RESULT",
            f"the result looks little like the text (patch loss {losses.patch:.2f}): try another seed or more steps",
        )
