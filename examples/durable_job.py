"""Create a job, lose the connection, and fetch the result later: jobs survive clients, connections and server crashes.

Usage: python examples/durable_job.py TARGET PHOTO TEXT OUTPUT
  clipstyler serve &
  python examples/durable_job.py 127.0.0.1:50051 examples/cat.jpg "stained glass" cat-in-glass.png
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from clipstyler_client import AsyncClient


async def create(target: str, photo: str, text: str, **options: Any) -> str:
    """Create a job and disconnect; returns its name."""
    async with AsyncClient(target) as client:
        job = await client.jobs.create(photo, text, **options)
        return job.name


async def fetch(target: str, name: str, output: str) -> None:
    """Wait for a job's end, wherever it was created, and write its result."""
    async with AsyncClient(target) as client:
        await client.jobs.watch(name).result()
        image = await client.jobs.download(name)
    print(f"{image.save(output)}: {image.width} x {image.height} pixels")


async def main(target: str, photo: str, text: str, output: str, **options: Any) -> None:
    """Create a job in one connection and fetch its result in another."""
    name = await create(target, photo, text, **options)
    print(f"created {name}")
    await fetch(target, name, output)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
