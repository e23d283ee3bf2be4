"""Zero-shot classification of labeled images, with and without prompt templates (figure of the CLIP paper)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from clipstyler.config import TemplateSet
from clipstyler.encoders.inference import Floats
from clipstyler.evaluation.text_directions import embed_text
from clipstyler.imaging import decode
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.section import Section, Table
from clipstyler_lab.settings import STYLES
from clipstyler_lab.workbench import Workbench


def predictions(images: Floats, texts: Floats) -> list[int]:
    """Return the number of the nearest text for each image: unit rows (N, D) and (labels, D)."""
    return [int(number) for number in (images @ texts.T).argmax(axis=1)]


def accuracy(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Share of images whose label was found."""
    return float(np.mean([found == label for found, label in zip(predicted, labels, strict=True)]))


def section(bench: Workbench, _outcomes: Outcomes) -> Section:
    """Show the accuracy with either template set, and the most frequent mistakes."""
    looks = bench.gallery.looks
    labeled = bench.gallery.labeled()
    images = np.stack([bench.embedding(decode(path.read_bytes())) for _, path in labeled])
    labels = [looks.index(look) for look, _ in labeled]
    rows = []
    for template_set in TemplateSet:
        texts = np.stack([embed_text(bench.measuring, look, template_set) for look in looks])
        found = predictions(images, texts)
        wrong = Counter(
            f"{looks[label]} as {looks[number]}" for number, label in zip(found, labels, strict=True) if number != label
        )
        mistakes = ", ".join(f"{mistake} ({count})" for mistake, count in wrong.most_common(5)) or "none"
        own = " (theirs)" if template_set is bench.encoders.calibration.template_set else ""
        rows.append((f"{template_set}{own}", accuracy(found, labels), 1 / len(looks), mistakes))
    return Section(
        "Zero-shot classification",
        f"Do the encoders name what they see? {len(labels)} labeled images of {len(looks)} looks; the label whose "
        "text is nearest counts, with and without prompt templates.",
        (Table("Accuracy", ("templates", "accuracy ↑", "by chance", "mistakes"), tuple(rows)),),
        _findings(bench),
    )


def _findings(bench: Workbench) -> tuple[str, ...]:
    if bench.settings.styles != STYLES:
        return ()
    return (
        "The labeled images are drawings of this project. The generators that drew them also drew what pocket was "
        "trained on, with other seeds: for pocket this is no test of unseen kinds of images.",
    )
