"""Plain values of the encoder calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from clipstyler.v1 import encoder_service_pb2 as pb


class Prediction(NamedTuple):
    """A label and its probability among all labels, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of length 1, with the encoder set that computed them and the digest of its weights."""

    vectors: tuple[tuple[float, ...], ...]
    encoder_set: str
    digest: str
    dimension: int


@dataclass(frozen=True)
class TextDirection:
    """The direction from a source text to a style text."""

    vector: tuple[float, ...]
    encoder_set: str
    digest: str
    templates: str


def embeddings(response: pb.EncodeTextResponse | pb.EncodeImageResponse) -> Embeddings:
    """Translate embeddings."""
    encoder = response.encoder
    vectors = tuple(tuple(embedding.values) for embedding in response.embeddings)
    return Embeddings(vectors, encoder.encoder_set, encoder.digest, encoder.dimension)


def direction(response: pb.GetTextDirectionResponse) -> TextDirection:
    """Translate a text direction."""
    encoder = response.encoder
    return TextDirection(tuple(response.direction.values), encoder.encoder_set, encoder.digest, response.templates)


def predictions(response: pb.ClassifyImageResponse) -> tuple[Prediction, ...]:
    """Translate a classification."""
    return tuple(Prediction(found.label, found.probability) for found in response.predictions)
