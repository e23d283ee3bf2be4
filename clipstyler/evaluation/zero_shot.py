"""Zero-shot classification: which labels describe a picture best (Radford et al., 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipstyler.encoders.inference import Floats, InferenceEncoders, image_of, l2_normalize
from clipstyler.evaluation.text_directions import embed_text
from clipstyler.imaging import Picture
from clipstyler.options import ConfigError, Violation
from clipstyler.prompts import MAX_CHARACTERS, check_text

MAX_LABELS = 256


class Prediction(NamedTuple):
    """A label and its probability among all labels, 0 to 1."""

    label: str
    probability: float


def check_labels(labels: Sequence[str], max_characters: int = MAX_CHARACTERS) -> tuple[str, ...]:
    """Return labels in normal form.

    Raises
    ------
    ConfigError
        There are none or too many, or labels are empty, too long, or repeated (case aside): all of them are named.
    """
    if not 1 <= len(labels) <= MAX_LABELS:
        raise ConfigError("labels", f"must have 1 to {MAX_LABELS} elements, got {len(labels)}")
    violations: list[Violation] = []
    first_place: dict[str, int] = {}
    normal = []
    for i, label in enumerate(labels):
        try:
            checked = check_text(f"labels[{i}]", label, max_characters)
        except ConfigError as error:
            violations.extend(error.violations)
            continue
        first = first_place.setdefault(checked.casefold(), i)
        if first != i:
            violations.append(Violation(f"labels[{i}]", f"{checked!r} repeats labels[{first}]: give each label once"))
        normal.append(checked)
    if violations:
        raise ConfigError.of(violations)
    return tuple(normal)


def classify(picture: Picture, labels: Sequence[str], encoders: InferenceEncoders) -> list[Prediction]:
    """Rank labels by how well they describe a picture, the most probable first.

    The whole picture is resized to the encoder's square view. Each label goes through the templates of the encoders'
    calibration; probabilities are the softmax of the cosines times its `logit_scale`.

    Parameters
    ----------
    picture
        Any size.
    labels
        1 to 256 different texts, such as "fire" or "a brick wall".
    encoders
        Any backend.

    Raises
    ------
    ConfigError
        Labels that cannot be used.
    """
    return classify_view(encoders.views(image_of(picture.rgb)), check_labels(labels), encoders)


def classify_view(view: Floats, labels: Sequence[str], encoders: InferenceEncoders) -> list[Prediction]:
    """Rank labels as `classify` does, by the view of a picture: float32 (1, 3, image_size, image_size) in [0, 1].

    `check_labels` has returned the labels, whatever length it allowed.
    """
    calibration = encoders.calibration
    image = l2_normalize(encoders.encode_image(view))[0]
    texts = np.stack([embed_text(encoders, label, calibration.template_set) for label in labels])
    logits = calibration.logit_scale * (texts @ image).astype(np.float64)
    shares = np.exp(logits - logits.max())
    predictions = map(Prediction, labels, (shares / shares.sum()).tolist())
    return sorted(predictions, key=lambda prediction: -prediction.probability)
