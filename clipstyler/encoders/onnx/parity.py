"""The gate between an export and its use: probe images and texts go both ways, and the answers must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clipstyler.encoders.base import EncoderSet

Floats = NDArray[np.float32]

PROBE_TEXTS = (
    "a Photo",
    "fire",
    "a sketch with black pencil",
    "stained glass",
    "a watercolor painting with purple brush",
    "stone wall",
    "Starry Night by Vincent van Gogh",
    "neon light",
)
SMALLEST_COSINE = {"fp32": 0.99999, "fp16": 0.999}
_PROBES = 8
_SEED = 20221
# Two texts this close to an image may change places without any harm.
_RANKING_SLACK = {"fp32": 1e-5, "fp16": 2e-3}


class Encodes(Protocol):
    """What both paths can do; see `OnnxEncoders`."""

    def encode_image(self, views: Floats) -> Floats:
        """Embed views."""
        ...

    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences."""
        ...

    def features(self, images: Floats) -> list[Floats]:
        """Content features."""
        ...


class TorchPath:
    """The PyTorch encoders with NumPy at both ends."""

    def __init__(self, encoders: EncoderSet) -> None:
        self._encoders = encoders

    def encode_image(self, views: Floats) -> Floats:
        """Embed views."""
        return self._numpy(self._encoders.clip.encode_image(self._tensor(views)))

    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences."""
        return self._numpy(self._encoders.clip.encode_text(list(sentences)))

    def features(self, images: Floats) -> list[Floats]:
        """Content features."""
        return [self._numpy(part) for part in self._encoders.content.features(self._tensor(images))]

    def _tensor(self, values: Floats):  # type: ignore[no-untyped-def]
        import torch  # noqa: PLC0415

        return torch.from_numpy(values).to(self._encoders.device)

    @staticmethod
    def _numpy(values) -> Floats:  # type: ignore[no-untyped-def]
        return np.asarray(values.detach().float().cpu().numpy())


@dataclass(frozen=True)
class Agreement:
    """How far two paths agree for one tower: smallest cosine, largest absolute difference."""

    tower: str
    cosine: float
    difference: float


@dataclass(frozen=True)
class Parity:
    """The gate's verdict.

    Attributes
    ----------
    agreements
        One a tower.
    rankings_agree
        Whether every probe image has its texts in the same order on both paths.
    smallest_cosine
        What was demanded.
    """

    agreements: tuple[Agreement, ...]
    rankings_agree: bool
    smallest_cosine: float

    @property
    def holds(self) -> bool:
        """Whether the export may be used."""
        return self.rankings_agree and all(a.cosine >= self.smallest_cosine for a in self.agreements)

    def in_words(self) -> str:
        """One line for logs and errors."""
        towers = ", ".join(f"{a.tower}: cosine {a.cosine:.7f}, difference {a.difference:.2g}" for a in self.agreements)
        order = "the same order" if self.rankings_agree else "ANOTHER ORDER"
        return f"{towers}; texts in {order} on all probe images; a cosine of {self.smallest_cosine} is needed"


def probe_images(side: int, count: int = _PROBES) -> Floats:
    """Images made by code: waves, blots, checks and noise in colour, float32 (count, 3, side, side) in [0, 1]."""
    rng = np.random.default_rng(_SEED)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    images = []
    for number in range(count):
        turn, pitch, phase = rng.uniform(0, np.pi), rng.uniform(2, 24), rng.uniform(0, 6.3, 3)
        wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * pitch * np.pi + phase[:, None, None])
        checks = (np.floor(x * pitch / 2) + np.floor(y * pitch / 2)) % 2
        noise = rng.random((3, side, side), np.float32)
        share = (number + 0.5) / count
        images.append(0.5 + 0.35 * wave * (1 - 0.5 * checks) + 0.4 * share * (noise - 0.5))
    probes: Floats = np.clip(np.stack(images), 0, 1).astype(np.float32)
    return probes


def check_parity(reference: Encodes, candidate: Encodes, image_size: int, precision: str) -> Parity:
    """Send the probes through both paths.

    Parameters
    ----------
    reference, candidate
        PyTorch in single precision, and the export.
    image_size
        Side of the encoders' views.
    precision
        "fp32" or "fp16": decides what is demanded.
    """
    views, photos = probe_images(image_size), probe_images(96, 2)
    images = reference.encode_image(views), candidate.encode_image(views)
    texts = reference.encode_text(PROBE_TEXTS), candidate.encode_text(PROBE_TEXTS)
    maps = zip(reference.features(photos), candidate.features(photos), strict=True)
    contents = [
        _agreement(f"content {i}", *(part.reshape(len(part), -1) for part in pair)) for i, pair in enumerate(maps)
    ]
    agreements = (_agreement("image", *images), _agreement("text", *texts), *contents)
    similarities = [_unit(image) @ _unit(text).T for image, text in zip(images, texts, strict=True)]
    rankings = _rankings_agree(similarities[0], similarities[1], _RANKING_SLACK[precision])
    return Parity(agreements, rankings, SMALLEST_COSINE[precision])


def _agreement(tower: str, reference: Floats, candidate: Floats) -> Agreement:
    cosines = (_unit(reference) * _unit(candidate)).sum(axis=1)
    return Agreement(tower, float(cosines.min()), float(np.abs(reference - candidate).max()))


def _unit(rows: Floats) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))


def _rankings_agree(reference: NDArray[np.float64], candidate: NDArray[np.float64], slack: float) -> bool:
    """Whether no two texts that are clearly apart on one path have changed places on the other."""
    gaps = reference[:, :, None] - reference[:, None]
    others = candidate[:, :, None] - candidate[:, None]
    return not bool(((gaps > slack) & (others < -slack)).any())
