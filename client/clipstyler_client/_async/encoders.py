"""The encoders themselves: embeddings, text directions, zero-shot labels, quality of a stylization."""

from __future__ import annotations

from collections.abc import Sequence

from clipstyler.v1 import encoder_service_pb2 as pb
from clipstyler_client import _encoders as values
from clipstyler_client._async.connection import AsyncConnection
from clipstyler_client._codec import Photo, photo_bytes, quality
from clipstyler_client._encoders import Embeddings, Prediction, TextDirection
from clipstyler_client._events import QualityReport
from clipstyler_client._options import encoded, several


class AsyncEncoders:
    """The calls on encoders; `client.encoders`. An empty `encoder_set` is the default.

    Each raises `StylizeError`, and `OptionError` for arguments that do not fit.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._stub = connection.encoders

    async def encode_text(self, texts: Sequence[str], *, encoder_set: str = "") -> Embeddings:
        """Embed texts, each as one sentence."""
        request = encoded(pb.EncodeTextRequest, texts=several("texts", texts, str, bytes), encoder_set=encoder_set)
        return values.embeddings(await self._connection.call(self._stub.EncodeText, request))

    async def encode_image(self, images: Sequence[Photo], *, encoder_set: str = "") -> Embeddings:
        """Embed images, given as bytes or paths."""
        photos = [photo_bytes(image, "images") for image in several("images", images, str, bytes)]
        request = encoded(pb.EncodeImageRequest, images=photos, encoder_set=encoder_set)
        return values.embeddings(await self._connection.call(self._stub.EncodeImage, request))

    async def text_direction(
        self, style_text: str, source_text: str | None = None, *, encoder_set: str = ""
    ) -> TextDirection:
        """Get the direction from a source text (default: the encoders') to a style text."""
        request = encoded(
            pb.GetTextDirectionRequest, style_text=style_text, source_text=source_text, encoder_set=encoder_set
        )
        return values.direction(await self._connection.call(self._stub.GetTextDirection, request))

    async def classify(self, image: Photo, labels: Sequence[str], *, encoder_set: str = "") -> tuple[Prediction, ...]:
        """Rank labels by how well they describe an image, the most probable first."""
        request = encoded(
            pb.ClassifyImageRequest,
            image=photo_bytes(image, "image"),
            labels=several("labels", labels, str, bytes),
            encoder_set=encoder_set,
        )
        return values.predictions(await self._connection.call(self._stub.ClassifyImage, request))

    async def evaluate(
        self,
        content: Photo,
        stylized: Photo,
        style_text: str,
        *,
        source_text: str | None = None,
        seed: int = 0,
        encoder_set: str = "",
    ) -> QualityReport:
        """Measure a stylized image against its photo and its text."""
        request = encoded(
            pb.EvaluateStylizationRequest,
            content_image=photo_bytes(content, "content"),
            stylized_image=photo_bytes(stylized, "stylized"),
            style_text=style_text,
            source_text=source_text,
            seed=seed,
            encoder_set=encoder_set,
        )
        return quality((await self._connection.call(self._stub.EvaluateStylization, request)).quality)
