"""The page of metrics for many readers: those who ask at once share one, so that it never fills the event loop."""

from __future__ import annotations

import asyncio

from prometheus_client.exposition import choose_encoder

from clipstyler_server.observability.metrics import Metrics

_OPEN_METRICS = "application/openmetrics-text"


class SharedExposition:
    """Makes pages of metrics one after another, each for everybody who asked before it was begun.

    Between two pages the event loop belongs to others for as long as the first took.

    Parameters
    ----------
    metrics
        What the pages show.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: dict[str, asyncio.Task[bytes]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._took_s = 0.0

    async def of_now(self, accept: str) -> tuple[bytes, str]:
        """Return a page that is begun after the call, in the format that a reader accepts, and its type."""
        accept = _known(accept)
        _, content_type = choose_encoder(accept)
        if content_type not in self._waiting:
            self._waiting[content_type] = asyncio.create_task(self._make(accept, content_type))
        return await asyncio.shield(self._waiting[content_type]), content_type

    async def _make(self, accept: str, content_type: str) -> bytes:
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            await asyncio.sleep(self._took_s)
            del self._waiting[content_type]
            begun = loop.time()
            page, _ = self._metrics.exposition(accept)
            self._took_s = loop.time() - begun
        return page


def _known(accept: str) -> str:
    """Return which of the two formats a reader accepts: versions that it makes up would fail, or be further pages."""
    return f"{_OPEN_METRICS};version=1.0.0" if _OPEN_METRICS in accept else ""
