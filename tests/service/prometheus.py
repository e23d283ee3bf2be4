"""A Prometheus of its own for tests: Debian's, from the path or from where scripts/install_prometheus unpacks it."""

from __future__ import annotations

import asyncio
import math
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

ROOT = Path(__file__).parents[2]
_UNPACKED = ROOT / ".cache" / "prometheus" / "usr" / "bin"


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; skips the test where there is none."""
    found = shutil.which(name) or shutil.which(name, path=_UNPACKED)
    if found is None:
        pytest.skip(f"there is no {name}: scripts/install_prometheus fetches it")
    return found


class Prometheus:
    """A running Prometheus, asked by its HTTP API."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer."""
        url = f"http://{self._address}/api/v1/{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def values(self, query: str) -> list[float]:
        """Return the values of all series of a query that are numbers."""
        result = (await self.get("query", query=query))["result"]
        values = [float(series["value"][1]) for series in result]
        return [value for value in values if math.isfinite(value)]

    async def scrapes(self) -> int:
        """Return how often the server was scraped so far."""
        return int(sum(await self.values("sum(count_over_time(up[1h]))")))

    async def wait_for_scrapes(self, more: int) -> None:
        """Wait until the server was scraped so many times more."""
        wanted = await self.scrapes() + more
        async with asyncio.timeout(60):
            while await self.scrapes() < wanted:
                await asyncio.sleep(0.1)


@asynccontextmanager
async def scraping(target: str, rules: Path, folder: Path) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes a server every second and evaluates rules."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "clipstyler", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    arguments = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    process = await asyncio.create_subprocess_exec(program("prometheus"), *arguments, "--log.level=error", cwd=folder)
    try:
        prometheus = Prometheus(address)
        await _until_ready(address)
        yield prometheus
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(address: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://{address}/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
