"""The parity gate: probe images and texts go through PyTorch and through the export, and the outputs must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipstyler.encoders.onnx import probes

Floats = NDArray[np.float32]

SMALLEST_COSINE = {"fp32": 0.99999, "fp16": 0.999}
# Texts whose cosines to an image differ by less than this are tied: rounding alone may swap them.
_TIE = {"fp32": 1e-5, "fp16": 1e-3}
_CONTENT_SIDE = 96


class Encodes(Protocol):
    """The methods that both backends share; see `OnnxEncoders` and `TorchEncoders`."""

    image_size: int
    precision: str

    def encode_image(self, views: Floats) -> Floats:
        """Embed views."""
        ...

    def encode_text(self, sentences: Sequence[str]) -> Floats:
        """Embed sentences."""
        ...

    def features(self, images: Floats) -> list[Floats]:
        """Content features."""
        ...


@dataclass(frozen=True)
class Agreement:
    """Agreement of both backends for one tower: smallest cosine, largest absolute difference."""

    tower: str
    cosine: float
    difference: float


@dataclass(frozen=True)
class Parity:
    """The gate's verdict.

    Attributes
    ----------
    agreements
        One per tower and one per content layer.
    same_ranking
        Whether both backends rank the texts of every probe image in the same order.
    smallest_cosine
        What was required.
    """

    agreements: tuple[Agreement, ...]
    same_ranking: bool
    smallest_cosine: float

    @property
    def holds(self) -> bool:
        """Whether the export may be used."""
        # NaN fails as well.
        return self.same_ranking and all(a.cosine >= self.smallest_cosine for a in self.agreements)

    def __str__(self) -> str:
        towers = ", ".join(f"{a.tower}: cosine {a.cosine:.7f}, difference {a.difference:.2g}" for a in self.agreements)
        order = "the same order" if self.same_ranking else "ANOTHER ORDER"
        return f"{towers}; texts in {order} on all probe images; a cosine of {self.smallest_cosine} is needed"


def check_parity(reference: Encodes, candidate: Encodes) -> Parity:
    """Run the probes through both backends.

    Parameters
    ----------
    reference, candidate
        PyTorch in single precision, and the export, whose precision decides the required agreement.
    """
    views, photos = probes.images(reference.image_size), probes.images(_CONTENT_SIDE, 2)
    images = reference.encode_image(views), candidate.encode_image(views)
    texts = reference.encode_text(probes.TEXTS), candidate.encode_text(probes.TEXTS)
    maps = zip(reference.features(photos), candidate.features(photos), strict=True)
    agreements = [_agreement("image", *images), _agreement("text", *texts)]
    agreements += [_agreement(f"content {i}", *(part.reshape(len(part), -1) for part in m)) for i, m in enumerate(maps)]
    before, after = (_unit(i) @ _unit(t).T for i, t in zip(images, texts, strict=True))
    same_ranking = _same_ranking(before, after, _TIE[candidate.precision])
    return Parity(tuple(agreements), same_ranking, SMALLEST_COSINE[candidate.precision])


def _agreement(tower: str, reference: Floats, candidate: Floats) -> Agreement:
    cosines = (_unit(reference) * _unit(candidate)).sum(axis=1)
    return Agreement(tower, float(cosines.min()), float(np.abs(reference - candidate).max()))


def _unit(rows: Floats) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit


def _same_ranking(before: NDArray[np.float64], after: NDArray[np.float64], tie: float) -> bool:
    """Return whether no two texts that one backend separates are in the other order on the other."""
    gaps, others = (cosines[:, :, None] - cosines[:, None] for cosines in (before, after))
    return not bool(((gaps > tie) & (others < 0)).any())
