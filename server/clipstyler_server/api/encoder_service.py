"""`clipstyler.v1.EncoderService`: checks requests, has the evaluator compute, and translates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from clipstyler import prompts
from clipstyler.config import check_seed
from clipstyler.evaluation import zero_shot
from clipstyler.imaging import ImageError
from clipstyler.options import ConfigError
from clipstyler.v1 import encoder_service_pb2 as pb
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceServicer
from clipstyler_server.api.bounds import LARGEST_EVALUATION, PICTURE_BYTES, CallBounds
from clipstyler_server.api.callers import current_caller
from clipstyler_server.api.codec.stylization import quality_message
from clipstyler_server.errors import ServiceError, Violation, invalid
from clipstyler_server.jobs.directions import DirectionLookup
from clipstyler_server.settings import LARGEST_BATCH, Settings
from clipstyler_server.workers.decoder.client import ImageDecoder
from clipstyler_server.workers.evaluator.client import EvaluatorClient
from clipstyler_server.workers.evaluator.messages import (
    Classify,
    EncodeImages,
    EncoderFacts,
    EncodeTexts,
    Floats,
    Measure,
    Task,
)
from clipstyler_server.workers.turns import finish

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

# Larger images are fitted to this before they are measured, which brings them to 512 px.
LARGEST_SIDE = 2048
_IMAGES_AT_ONCE = 16
# A classification or a report takes about as long as embedding so many images.
_LONG_EVALUATION = 16
_Checked = TypeVar("_Checked")


class EncoderService(EncoderServiceServicer):
    """Encodes, classifies and measures.

    Parameters
    ----------
    settings
        Limits.
    evaluator
        Computes.
    decoder
        Decodes images in a process of its own.
    directions
        Finds text directions.
    bounds
        Of decoded images, and of what the evaluator does, at the same time.
    """

    def __init__(
        self,
        settings: Settings,
        evaluator: EvaluatorClient,
        decoder: ImageDecoder,
        directions: DirectionLookup,
        bounds: CallBounds,
    ) -> None:
        self._settings = settings
        self._pictures = bounds.pictures
        self._evaluations = bounds.evaluations
        self._evaluator = evaluator
        self._decoder = decoder
        self._directions = directions

    async def EncodeText(
        self,
        request: pb.EncodeTextRequest,
        context: ServicerContext[pb.EncodeTextRequest, pb.EncodeTextResponse],
    ) -> pb.EncodeTextResponse:
        """Embed texts."""
        check = _Violations()
        facts = check(self._facts, request.encoder_set)
        check(self._check_batch, "texts", request.texts)
        longest = self._settings.max_text_characters
        # No more are looked at: hundreds of thousands of empty texts fit into a small request.
        batch = enumerate(request.texts[:LARGEST_BATCH])
        texts = [check(prompts.check_text, f"texts[{i}]", text, longest) for i, text in batch]
        check.done()
        rows = await self._evaluate(EncodeTexts(facts.name, tuple(texts)), current_caller().account)
        return pb.EncodeTextResponse(embeddings=_embeddings(rows), encoder=_info(facts))

    async def EncodeImage(
        self,
        request: pb.EncodeImageRequest,
        context: ServicerContext[pb.EncodeImageRequest, pb.EncodeImageResponse],
    ) -> pb.EncodeImageResponse:
        """Embed images."""
        check = _Violations()
        facts = check(self._facts, request.encoder_set)
        check(self._check_batch, "images", request.images)
        await self._checked(check, {f"images[{i}]": image for i, image in enumerate(request.images[:LARGEST_BATCH])})
        rows = [
            row
            async for embedded in self._embedded_in_parts(facts, request.images, current_caller().account)
            for row in embedded
        ]
        return pb.EncodeImageResponse(embeddings=_embeddings(rows), encoder=_info(facts))

    async def GetTextDirection(
        self,
        request: pb.GetTextDirectionRequest,
        context: ServicerContext[pb.GetTextDirectionRequest, pb.GetTextDirectionResponse],
    ) -> pb.GetTextDirectionResponse:
        """Return a text direction."""
        check = _Violations()
        facts = check(self._facts, request.encoder_set)
        style, source = self._texts(request, facts, check)
        check.done()
        lease = await self._evaluations.take(current_caller().account, 1)
        direction = await finish(self._directions.find(facts, style, source), lease)
        return pb.GetTextDirectionResponse(
            direction=pb.Embedding(values=direction.tolist()), templates=facts.templates, encoder=_info(facts)
        )

    async def ClassifyImage(
        self,
        request: pb.ClassifyImageRequest,
        context: ServicerContext[pb.ClassifyImageRequest, pb.ClassifyImageResponse],
    ) -> pb.ClassifyImageResponse:
        """Rank labels by how well they describe an image."""
        check = _Violations()
        facts = check(self._facts, request.encoder_set)
        labels = check(zero_shot.check_labels, request.labels, self._settings.max_text_characters)
        await self._checked(check, {"image": request.image})
        account = current_caller().account
        async with self._held_views(facts, {"image": request.image}, account) as (view,):
            ranked = await self._evaluate(Classify(facts.name, view, labels), account)
        predictions = [pb.ClassifyImageResponse.Prediction(label=label, probability=share) for label, share in ranked]
        return pb.ClassifyImageResponse(predictions=predictions, encoder=_info(facts))

    async def EvaluateStylization(
        self,
        request: pb.EvaluateStylizationRequest,
        context: ServicerContext[pb.EvaluateStylizationRequest, pb.EvaluateStylizationResponse],
    ) -> pb.EvaluateStylizationResponse:
        """Measure a stylized image."""
        check = _Violations()
        facts = check(self._facts, request.encoder_set)
        style, source = self._texts(request, facts, check)
        seed = check(check_seed, request.seed)
        images = {"content_image": request.content_image, "stylized_image": request.stylized_image}
        await self._checked(check, images)
        account = current_caller().account
        async with self._pictures.hold(account, len(images) * PICTURE_BYTES):
            content, stylized = await _all(
                images, lambda image: self._decoder.decode(image, account, LARGEST_SIDE, enlarge=False)
            )
            task = Measure(facts.name, content.picture, stylized.picture, style, source, seed, strict=True)
            measured = await self._evaluate(task, account)
        return pb.EvaluateStylizationResponse(quality=quality_message(measured), encoder=_info(facts))

    async def _evaluate(self, task: Task, account: str) -> Any:
        """Have the evaluator compute when it is the caller's turn; what a caller that left has asked for counts on."""
        lease = await self._evaluations.take(account, _weight(task))
        return await finish(self._evaluator.ask(task), lease)

    def _facts(self, name: str) -> EncoderFacts:
        """Return the encoder set that is asked for; the first by default."""
        self._evaluator.check_ready()
        known = self._evaluator.facts
        if name and name not in known:
            raise ConfigError("encoder_set", f"{name!r} is not loaded here: use one of {', '.join(known)}")
        return known[name] if name else next(iter(known.values()))

    def _texts(
        self,
        request: pb.GetTextDirectionRequest | pb.EvaluateStylizationRequest,
        facts: EncoderFacts | None,
        check: _Violations,
    ) -> tuple[str, str]:
        default = facts.source_text if facts else "a photo"
        source = request.source_text if request.HasField("source_text") else default
        texts = check(prompts.check_texts, request.style_text, source, self._settings.max_text_characters)
        return texts or ("", "")

    async def _checked(self, check: _Violations, images: Mapping[str, bytes]) -> None:
        """Raise what checks have found; if they have, images are looked at too, so that all is named at once."""
        if check.found:
            account = current_caller().account
            for field, image in images.items():
                try:
                    await self._decoder.inspect(image, account)
                except ImageError as error:
                    check.found.append(Violation(field, str(error)))
        check.done()

    def _check_batch(self, field: str, batch: Sequence[Any]) -> None:
        if not 1 <= len(batch) <= self._settings.max_batch:
            raise ConfigError(field, f"must have 1 to {self._settings.max_batch} elements, got {len(batch)}")

    async def _embedded_in_parts(
        self, facts: EncoderFacts, images: Sequence[bytes], account: str
    ) -> AsyncIterator[Floats]:
        """Embed images, so many at a time; what cannot be decoded is reported for all of them together."""
        violations: list[Violation] = []
        for start in range(0, len(images), _IMAGES_AT_ONCE):
            part = {f"images[{start + i}]": image for i, image in enumerate(images[start : start + _IMAGES_AT_ONCE])}
            try:
                async with self._held_views(facts, part, account) as views:
                    if not violations:
                        yield await self._evaluate(EncodeImages(facts.name, tuple(views)), account)
            except ServiceError as error:
                if not error.details.violations:
                    raise
                violations += error.details.violations
        if violations:
            raise invalid(*violations)

    @asynccontextmanager
    async def _held_views(
        self, facts: EncoderFacts, images: Mapping[str, bytes], account: str
    ) -> AsyncIterator[list[Floats]]:
        """Decode images to the views of an encoder, whose bytes are held for the duration of the block."""
        async with self._pictures.hold(account, len(images) * view_bytes(facts.image_size)):
            yield await _all(images, lambda image: self._decoder.view(image, account, facts.image_size))


async def _all(images: Mapping[str, bytes], decode: Callable[[bytes], Awaitable[_Checked]]) -> list[_Checked]:
    """Decode images by the names of their fields, and report all that cannot be decoded."""
    decoded, violations = [], []
    for field, image in images.items():
        try:
            decoded.append(await decode(image))
        except ImageError as error:
            violations.append(Violation(field, str(error)))
    if violations:
        raise invalid(*violations)
    return decoded


def view_bytes(side: int) -> int:
    """Return the bytes of a view."""
    return 3 * 4 * side * side


def _weight(task: Task) -> int:
    """Return how much of the evaluator a task takes, as the number of texts or images to embed."""
    match task:
        case EncodeTexts():
            return min(len(task.texts), LARGEST_EVALUATION)
        case EncodeImages():
            return len(task.views)
        case _:
            return _LONG_EVALUATION


class _Violations:
    """Runs the checks of a request and raises everything that they found together.

    Attributes
    ----------
    found
        What cannot be used.
    """

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def __call__(self, check: Callable[..., _Checked], *values: object) -> _Checked:
        try:
            return check(*values)
        except ConfigError as error:
            self.found.extend(error.violations)
            return cast("_Checked", None)  # `done` raises before it is used

    def done(self) -> None:
        """Raise `ServiceError` INVALID_FIELD if a check failed."""
        if self.found:
            raise invalid(*self.found)


def _embeddings(rows: Iterable[Floats]) -> list[pb.Embedding]:
    return [pb.Embedding(values=row.tolist()) for row in rows]


def _info(facts: EncoderFacts) -> pb.EncoderInfo:
    return pb.EncoderInfo(
        encoder_set=facts.name,
        digest=facts.digest,
        dimension=facts.dimension,
        backend=facts.backend,
        precision=facts.precision,
    )
