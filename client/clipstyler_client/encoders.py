"""Calls of EncoderService, for `Client.call` and `AsyncClient.call` alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clipstyler.v1 import encoder_service_pb2 as pb2
from clipstyler_client.calls import ENCODER, Call
from clipstyler_client.events import Quality
from clipstyler_client.translate import Photo, photo_bytes, quality_from_proto


class Prediction(NamedTuple):
    """A label and its probability among all labels, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of length 1, one each, with the encoders that made them and the digest of their weights."""

    vectors: tuple[tuple[float, ...], ...]
    encoders: str
    digest: str
    dimension: int


@dataclass(frozen=True)
class TextDirection:
    """The direction in which a style text differs from a source text."""

    vector: tuple[float, ...]
    encoders: str
    digest: str
    templates: str


def encode_text(texts: Sequence[str], encoders: str = "") -> Call[Embeddings]:
    """Embed texts, each as one sentence."""
    return Call(ENCODER, "EncodeText", pb2.EncodeTextRequest(texts=texts, encoders=encoders), _embeddings)


def encode_image(images: Sequence[Photo], encoders: str = "") -> Call[Embeddings]:
    """Embed images, given as bytes or paths."""
    request = pb2.EncodeImageRequest(images=[photo_bytes(image) for image in images], encoders=encoders)
    return Call(ENCODER, "EncodeImage", request, _embeddings)


def text_direction(style_text: str, source_text: str | None = None, encoders: str = "") -> Call[TextDirection]:
    """Tell the direction from a source text (default: the encoders') to a style text."""
    request = pb2.GetTextDirectionRequest(style_text=style_text, source_text=source_text, encoders=encoders)
    return Call(ENCODER, "GetTextDirection", request, _direction)


def classify(image: Photo, labels: Sequence[str], encoders: str = "") -> Call[tuple[Prediction, ...]]:
    """Tell which label fits an image: the best first."""
    request = pb2.ClassifyImageRequest(image=photo_bytes(image), labels=labels, encoders=encoders)
    return Call(ENCODER, "ClassifyImage", request, _predictions)


def evaluate(
    content: Photo,
    stylized: Photo,
    style_text: str,
    *,
    source_text: str | None = None,
    seed: int = 0,
    encoders: str = "",
) -> Call[Quality]:
    """Measure a stylized image against its photo and its text."""
    request = pb2.EvaluateStylizationRequest(
        content_image=photo_bytes(content),
        stylized_image=photo_bytes(stylized),
        style_text=style_text,
        source_text=source_text,
        seed=seed,
        encoders=encoders,
    )
    return Call(ENCODER, "EvaluateStylization", request, lambda response: quality_from_proto(response.quality))


def _embeddings(response: pb2.EncodeTextResponse | pb2.EncodeImageResponse) -> Embeddings:
    encoder = response.encoder
    vectors = tuple(tuple(embedding.values) for embedding in response.embeddings)
    return Embeddings(vectors, encoder.encoders, encoder.digest, encoder.dimension)


def _direction(response: pb2.GetTextDirectionResponse) -> TextDirection:
    encoder = response.encoder
    return TextDirection(tuple(response.direction.values), encoder.encoders, encoder.digest, response.templates)


def _predictions(response: pb2.ClassifyImageResponse) -> tuple[Prediction, ...]:
    return tuple(Prediction(found.label, found.probability) for found in response.predictions)
