"""Calls of EncoderService as plain values: each is a request and what reads its response, for both clients alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from clipstyler.v1 import encoder_service_pb2 as pb2
from clipstyler_client.events import Quality
from clipstyler_client.translate import Photo, quality_from_proto

ENCODER_TIMEOUT_S = 60.0
_Value = TypeVar("_Value")


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


@dataclass(frozen=True)
class Call(Generic[_Value]):
    """A call of EncoderService: its method, its request, and how its response is read."""

    method: str
    request: Any
    read: Callable[[Any], _Value]


def encode_text(texts: Sequence[str], encoders: str = "") -> Call[Embeddings]:
    """Embed texts, each as one sentence."""
    return Call("EncodeText", pb2.EncodeTextRequest(texts=texts, encoders=encoders), _embeddings)


def encode_image(images: Sequence[Photo], encoders: str = "") -> Call[Embeddings]:
    """Embed images, given as bytes or paths."""
    request = pb2.EncodeImageRequest(images=[_bytes(image) for image in images], encoders=encoders)
    return Call("EncodeImage", request, _embeddings)


def text_direction(style_text: str, source_text: str | None = None, encoders: str = "") -> Call[TextDirection]:
    """Tell the direction from a source text (default: the encoders') to a style text."""
    request = pb2.GetTextDirectionRequest(style_text=style_text, source_text=source_text, encoders=encoders)
    return Call("GetTextDirection", request, _direction)


def classify(image: Photo, labels: Sequence[str], encoders: str = "") -> Call[tuple[Prediction, ...]]:
    """Tell which label fits an image: the best first."""
    request = pb2.ClassifyImageRequest(image=_bytes(image), labels=labels, encoders=encoders)
    return Call("ClassifyImage", request, _predictions)


def evaluate(
    content: Photo,
    stylised: Photo,
    style_text: str,
    *,
    source_text: str | None = None,
    seed: int = 0,
    encoders: str = "",
) -> Call[Quality]:
    """Measure a stylised image against its photo and its text."""
    request = pb2.EvaluateStylizationRequest(
        content_image=_bytes(content),
        stylized_image=_bytes(stylised),
        style_text=style_text,
        source_text=source_text,
        seed=seed,
        encoders=encoders,
    )
    return Call("EvaluateStylization", request, lambda response: quality_from_proto(response.quality))


def _bytes(photo: Photo) -> bytes:
    return photo if isinstance(photo, bytes) else Path(photo).read_bytes()


def _embeddings(response: pb2.EncodeTextResponse | pb2.EncodeImageResponse) -> Embeddings:
    encoder = response.encoder
    vectors = tuple(tuple(embedding.values) for embedding in response.embeddings)
    return Embeddings(vectors, encoder.encoders, encoder.digest, encoder.dimension)


def _direction(response: pb2.GetTextDirectionResponse) -> TextDirection:
    encoder = response.encoder
    return TextDirection(tuple(response.direction.values), encoder.encoders, encoder.digest, response.templates)


def _predictions(response: pb2.ClassifyImageResponse) -> tuple[Prediction, ...]:
    return tuple(Prediction(found.label, found.probability) for found in response.predictions)
