"""Zero-shot classification: which of some labels names a picture best (Radford et al., 2021, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from clipstyler.config import ConfigError
from clipstyler.prompts import MAX_CHARACTERS, check_text, embed_text

if TYPE_CHECKING:
    from clipstyler.encoders.base import EncoderSet
    from clipstyler.imaging import Picture

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
        There is none or too many; one is empty, too long, or there twice (case aside).
    """
    if not 1 <= len(labels) <= MAX_LABELS:
        raise ConfigError("labels", f"must be 1 to {MAX_LABELS}, got {len(labels)}")
    normal = tuple(check_text(f"labels[{i}]", label, max_characters) for i, label in enumerate(labels))
    seen: dict[str, int] = {}
    for i, label in enumerate(normal):
        first = seen.setdefault(label.casefold(), i)
        if first != i:
            raise ConfigError(f"labels[{i}]", f"{label!r} is there already, as labels[{first}]: name each label once")
    return normal


def classify(picture: Picture, labels: Sequence[str], encoders: EncoderSet) -> list[Prediction]:
    """Compare a picture with labels: the best first.

    The whole picture is squashed to the encoder's square, as the algorithm's global view is. Each label goes through
    the templates of the encoders' calibration; probabilities are the softmax of the cosines times its `logit_scale`.

    Parameters
    ----------
    picture
        Any size.
    labels
        1 to 256 different texts, such as "fire" or "a brick wall".
    encoders
        See `clipstyler.encoders.registry.load`.

    Raises
    ------
    ConfigError
        A label cannot be used.
    """
    import torch  # noqa: PLC0415 - checking labels is light
    from torch.nn import functional as F  # noqa: PLC0415

    from clipstyler.patches import resize  # noqa: PLC0415

    checked = check_labels(labels)
    calibration = encoders.calibration
    pixels = torch.tensor(picture.rgb, device=encoders.device)
    view = resize(pixels.permute(2, 0, 1)[None].float() / 255, encoders.clip.image_size)
    with torch.no_grad():
        image = F.normalize(encoders.clip.encode_image(view), dim=1)[0]
        texts = torch.stack([embed_text(encoders.clip, label, calibration.template_set) for label in checked])
        shares: list[float] = (calibration.logit_scale * texts @ image).softmax(dim=0).tolist()
    return sorted(map(Prediction, checked, shares), key=lambda prediction: -prediction.probability)
