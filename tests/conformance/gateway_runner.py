"""Plays the cases with the Python client through the gateway: `python -m tests.conformance.gateway_runner CONTROL`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from clipstyler_client import AsyncClient

from tests.conformance.player import Control, run
from tests.conformance.python_runner import ClientPlayer


async def play(control: Control, case: Mapping[str, Any]) -> None:
    """Play a case with a client of its own."""
    url = json.loads(await control.get(f"gateways/{case['server']}"))["url"]
    async with AsyncClient(url.removeprefix("http://")) as client:
        await ClientPlayer(control, client).play(case["steps"])


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1], sys.argv[2:], play)))
