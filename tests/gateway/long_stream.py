"""A stream that lasts longer than the usual timeouts of proxies, watched while other tests run."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from clipstyler_client import AsyncClient, Result

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from tests.gateway.http_calls import STYLIZATION, WebResponse, grpc_web, last_line
from tests.service.harness import order


class LongStream:
    """A job of 20 s on a server of its own, watched in three ways; it goes on while other tests run."""

    def __init__(self, url: str) -> None:
        self._pool = ThreadPoolExecutor(1)
        self.outcome = self._pool.submit(asyncio.run, self._watch(url))

    async def _watch(self, url: str) -> tuple[float, WebResponse, dict, Result]:
        spec = order("step=1 x", options=StylizationOptions(steps=20)).spec
        session = aiohttp.ClientSession(read_bufsize=2**23, timeout=aiohttp.ClientTimeout(total=120))
        async with session, AsyncClient(url.removeprefix("http://")) as client:
            job = await client.jobs.create(spec.image, spec.style_text, size=64, steps=20, patches=2)
            begun = time.monotonic()
            watch = pb.WatchStylizationRequest(name=job.name)
            web, lines, result = await asyncio.gather(
                grpc_web(session, url, f"{STYLIZATION}/WatchStylization", watch),
                last_line(session, f"{url}/{STYLIZATION}/WatchStylization", {"name": job.name}),
                client.jobs.watch(job.name).result(),
            )
            return time.monotonic() - begun, web, lines, result
