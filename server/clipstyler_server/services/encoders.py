"""`clipstyler.v1.EncoderService`: checks requests, has the evaluator carry them out, and translates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from clipstyler import prompts
from clipstyler.config import ConfigError, check_seed
from clipstyler.evaluation import zero_shot
from clipstyler.evaluation.direction_cache import DirectionCache
from clipstyler.imaging import ImageError, Picture
from clipstyler.v1 import encoder_service_pb2 as pb2
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceServicer
from clipstyler_server.engine.decoding import PhotoDecoder
from clipstyler_server.engine.evaluation import (
    Classify,
    EncodeImages,
    EncoderFacts,
    EncodeTexts,
    FindDirection,
    Floats,
    Measure,
)
from clipstyler_server.engine.evaluator_link import EvaluatorLink
from clipstyler_server.errors import Violation, invalid
from clipstyler_server.services import to_proto
from clipstyler_server.settings import Settings
from clipstyler_server.telemetry import Metrics

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

# A larger image is fitted to this before it is squashed to a view: nobody looks closer.
LARGEST_SIDE = 2048
_Checked = TypeVar("_Checked")


class EncoderService(EncoderServiceServicer):
    """Encodes, classifies and measures.

    Parameters
    ----------
    settings
        The limits.
    evaluator
        Computes.
    decoder
        Decodes images, apart from the front.
    metrics
        Where text directions are counted.
    """

    def __init__(self, settings: Settings, evaluator: EvaluatorLink, decoder: PhotoDecoder, metrics: Metrics) -> None:
        self._settings = settings
        self._evaluator = evaluator
        self._decoder = decoder
        self._metrics = metrics
        # A direction that was asked for before is answered here, without a hop to another process.
        self._directions = DirectionCache(settings.direction_cache_bytes)

    async def EncodeText(  # noqa: N802 - the contract's names, here and below
        self,
        request: pb2.EncodeTextRequest,
        context: ServicerContext[pb2.EncodeTextRequest, pb2.EncodeTextResponse],  # noqa: ARG002 - not needed
    ) -> pb2.EncodeTextResponse:
        """Embed texts."""
        facts = self._facts(request.encoders)
        self._check_batch("texts", request.texts)
        longest = self._settings.max_text_characters
        texts = [_checked(prompts.check_text, f"texts[{i}]", text, longest) for i, text in enumerate(request.texts)]
        rows = await self._evaluator.ask(EncodeTexts(facts.name, tuple(texts)))
        return pb2.EncodeTextResponse(embeddings=_embeddings(rows), encoder=_info(facts))

    async def EncodeImage(  # noqa: N802
        self,
        request: pb2.EncodeImageRequest,
        context: ServicerContext[pb2.EncodeImageRequest, pb2.EncodeImageResponse],  # noqa: ARG002
    ) -> pb2.EncodeImageResponse:
        """Embed images."""
        facts = self._facts(request.encoders)
        self._check_batch("images", request.images)
        pictures = [await self._picture(f"images[{i}]", data) for i, data in enumerate(request.images)]
        rows = await self._evaluator.ask(EncodeImages(facts.name, tuple(pictures)))
        return pb2.EncodeImageResponse(embeddings=_embeddings(rows), encoder=_info(facts))

    async def GetTextDirection(  # noqa: N802
        self,
        request: pb2.GetTextDirectionRequest,
        context: ServicerContext[pb2.GetTextDirectionRequest, pb2.GetTextDirectionResponse],  # noqa: ARG002
    ) -> pb2.GetTextDirectionResponse:
        """Tell a text direction."""
        facts = self._facts(request.encoders)
        style, source = self._texts(request, facts)
        key = facts.direction_key(source, style)
        direction = self._directions.peek(key)
        if direction is None:
            found = await self._evaluator.ask(FindDirection(facts.name, style, source))
            self._metrics.direction_found(found.origin, found.stats)
            direction = self._directions.keep(key, found.direction)
        else:
            self._metrics.direction_found("front")
        return pb2.GetTextDirectionResponse(
            direction=pb2.Embedding(values=direction.tolist()), templates=facts.templates, encoder=_info(facts)
        )

    async def ClassifyImage(  # noqa: N802
        self,
        request: pb2.ClassifyImageRequest,
        context: ServicerContext[pb2.ClassifyImageRequest, pb2.ClassifyImageResponse],  # noqa: ARG002
    ) -> pb2.ClassifyImageResponse:
        """Tell which label fits an image."""
        facts = self._facts(request.encoders)
        labels = _checked(zero_shot.check_labels, request.labels, self._settings.max_text_characters)
        picture = await self._picture("image", request.image)
        ranked = await self._evaluator.ask(Classify(facts.name, picture, labels))
        predictions = [pb2.Prediction(label=label, probability=share) for label, share in ranked]
        return pb2.ClassifyImageResponse(predictions=predictions, encoder=_info(facts))

    async def EvaluateStylization(  # noqa: N802
        self,
        request: pb2.EvaluateStylizationRequest,
        context: ServicerContext[pb2.EvaluateStylizationRequest, pb2.EvaluateStylizationResponse],  # noqa: ARG002
    ) -> pb2.EvaluateStylizationResponse:
        """Measure a stylized image."""
        facts = self._facts(request.encoders)
        style, source = self._texts(request, facts)
        seed = _checked(check_seed, request.seed)
        content = await self._picture("content_image", request.content_image)
        stylized = await self._picture("stylized_image", request.stylized_image)
        measured = await self._evaluator.ask(Measure(facts.name, content, stylized, style, source, seed))
        return pb2.EvaluateStylizationResponse(quality=to_proto.quality(measured), encoder=_info(facts))

    def _facts(self, name: str) -> EncoderFacts:
        """The encoders that are asked for; the first where none are."""
        self._evaluator.check_ready()
        known = self._evaluator.facts
        if name and name not in known:
            raise invalid(Violation("encoders", f"{name!r} is not loaded here: use {', '.join(known)}"))
        return known[name] if name else next(iter(known.values()))

    def _texts(
        self, request: pb2.GetTextDirectionRequest | pb2.EvaluateStylizationRequest, facts: EncoderFacts
    ) -> tuple[str, str]:
        source = request.source_text if request.HasField("source_text") else facts.source_text
        return _checked(prompts.check_texts, request.style_text, source, self._settings.max_text_characters)

    def _check_batch(self, field: str, batch: Sequence[Any]) -> None:
        if not 1 <= len(batch) <= self._settings.max_batch:
            problem = f"must be 1 to {self._settings.max_batch}, got {len(batch)}"
            raise invalid(Violation(field, problem))

    async def _picture(self, field: str, data: bytes) -> Picture:
        try:
            return (await self._decoder.decode(data, LARGEST_SIDE, enlarge=False)).picture
        except ImageError as error:
            raise invalid(Violation(field, str(error))) from error


def _checked(check: Callable[..., _Checked], *values: object) -> _Checked:
    try:
        return check(*values)
    except ConfigError as error:
        raise invalid(Violation(error.field, error.problem)) from error


def _embeddings(rows: Floats) -> list[pb2.Embedding]:
    return [pb2.Embedding(values=row.tolist()) for row in rows]


def _info(facts: EncoderFacts) -> pb2.EncoderInfo:
    return pb2.EncoderInfo(
        encoders=facts.name,
        digest=facts.digest,
        dimension=facts.dimension,
        backend=facts.backend,
        precision=facts.precision,
    )
