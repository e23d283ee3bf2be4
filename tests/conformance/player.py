"""Plays the cases of the conformance list: what runners in Python share."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tests.conformance.matching import mismatches

EVENTUALLY_S, PAUSE_S = 30.0, 0.05
CASE_TIMEOUT_S = 120.0
_VARIABLE = re.compile(r"\$\{(\w+)\}")
Outcome = dict[str, Any]


class Control:
    """The test's control: photos, gates and servers."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def get(self, path: str) -> bytes:
        return await asyncio.to_thread(self._send, path, None)

    async def post(self, path: str) -> None:
        await asyncio.to_thread(self._send, path, b"")

    def _send(self, path: str, body: bytes | None) -> bytes:
        with urllib.request.urlopen(f"{self._address}/{path}", data=body, timeout=120) as response:
            return response.read()


class CaseFailedError(Exception):
    """A step did not do what was expected."""


class Player(ABC):
    """Plays one case; a subclass makes the calls."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self._variables: dict[str, Any] = {"uuid": str(uuid.uuid4())}

    async def play(self, steps: list[dict[str, Any]]) -> None:
        """Play the steps; raises `CaseFailedError` with the first that fails."""
        for number, written in enumerate(steps, start=1):
            step = self._filled(written)
            if "call" not in step:
                await self.control.post(step["control"])
                continue
            outcome = await self._matching(step, number)
            self._variables |= {name: outcome[key] for name, key in step.get("save", {}).items()}

    async def _matching(self, step: Mapping[str, Any], number: int) -> Outcome:
        until = time.monotonic() + (EVENTUALLY_S if step.get("eventually") else 0)
        while True:
            outcomes = await asyncio.gather(*(self._outcome(step) for _ in range(step.get("parallel", 1))))
            wrong = next(filter(None, (mismatches(step.get("expect", {}), outcome) for outcome in outcomes)), None)
            if not wrong:
                return outcomes[0]
            if time.monotonic() > until:
                raise CaseFailedError(f"step {number}, {step['call']}: {'; '.join(wrong)}")
            await asyncio.sleep(PAUSE_S)

    @abstractmethod
    async def _outcome(self, step: Mapping[str, Any]) -> Outcome:
        """Make the call of a step."""

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner) for inner in value]
        if not isinstance(value, str):
            return value
        if whole := _VARIABLE.fullmatch(value):
            return self._variables[whole[1]]
        return _VARIABLE.sub(lambda found: str(self._variables[found[1]]), value)


async def run(address: str, names: Sequence[str], play: Callable[[Control, Mapping[str, Any]], Awaitable[None]]) -> int:
    """Play cases, all if no names are given, and print a line for each; returns the exit code.

    Parameters
    ----------
    address
        Of the control.
    names
        Of cases.
    play
        Plays a case; any exception is its failure.
    """
    control, code = Control(address), 0
    for case in json.loads(await control.get("cases")):
        if names and case["name"] not in names:
            continue
        detail = ""
        try:
            async with asyncio.timeout(CASE_TIMEOUT_S):
                await play(control, case)
        except Exception as error:  # noqa: BLE001 - whatever happens is the case's result
            detail, code = f"{type(error).__name__}: {error}", 1
        print(json.dumps({"name": case["name"], "ok": not detail, "detail": detail}), flush=True)
    return code
