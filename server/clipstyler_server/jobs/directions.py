"""Text directions in the front process: those asked for before are answered without a hop to another process."""

from __future__ import annotations

from collections.abc import Mapping

from clipstyler.evaluation.direction_cache import DirectionCache
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.workers.evaluator.client import EvaluatorClient
from clipstyler_server.workers.evaluator.messages import EncoderFacts, FindDirection, Floats


class DirectionLookup:
    """Finds text directions in memory, or has the evaluator find or compute them.

    Parameters
    ----------
    evaluator
        Has the encoders and the store of directions.
    max_bytes
        Of memory for directions.
    metrics
        Counts where directions come from.
    """

    def __init__(self, evaluator: EvaluatorClient, max_bytes: int, metrics: Metrics) -> None:
        self._evaluator = evaluator
        self._metrics = metrics
        self._cache = DirectionCache(max_bytes)

    @property
    def facts(self) -> Mapping[str, EncoderFacts]:
        """The encoder sets at hand, by name; empty until the evaluator was ready once."""
        return self._evaluator.facts

    async def find(self, encoders: EncoderFacts, style_text: str, source_text: str) -> Floats:
        """Return a text direction, float32 (D,).

        Raises
        ------
        ServiceError
            As `EvaluatorClient.ask`.
        """
        key = encoders.direction_key(source_text, style_text)
        guidance = self._cache.peek(key)
        if guidance is not None:
            self._metrics.direction_found("front")
            return guidance.direction
        found = await self._evaluator.ask(FindDirection(encoders.name, style_text, source_text))
        self._metrics.direction_found(found.origin, found.stats)
        return self._cache.keep(key, found.guidance).direction
