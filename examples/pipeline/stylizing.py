"""One photo: its job on the server, created once however often this process or the server is killed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clipstyler_client import AsyncClient, Job, OptionError, Result, StylizeError
from inbox import Photo

MAX_ATTEMPTS = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# What calls report without a reason if the server, or a proxy before it, is away for a moment.
_AWAY = {"UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"}
# Reasons of the server after which a call may be repeated. A job that is not found was deleted: it is created again.
_PASSING = {"DEADLINE_UNREACHABLE", "BROKEN_RESULT", "STYLIZATION_NOT_FOUND"}
# A job that failed for these may succeed in another attempt.
_UNLUCKY = {"WORKER_CRASHED", "SERVER_RESTARTED"}


@dataclass(frozen=True)
class Task:
    """What is made of every photo.

    Attributes
    ----------
    text
        What the results look like.
    options
        Options of a stylization: `size`, `steps`, `seed`, ...
    result_format
        "png", "jpeg" or "webp".
    """

    text: str
    options: Mapping[str, Any] = field(default_factory=dict)
    result_format: str = "png"

    def request_id(self, photo: Photo, attempt: int = 1) -> str:
        """Return the id of a photo's job: a UUID4 whose bits are a digest of photo, text, options and attempt."""
        asked = json.dumps([photo.digest, self.text, sorted(self.options.items()), self.result_format, attempt])
        return str(uuid.UUID(bytes=hashlib.sha256(asked.encode()).digest()[:16], version=4))


class TaskError(Exception):
    """No photo would succeed: the text or an option cannot be used, or the server refuses this caller."""


class PhotoError(Exception):
    """A photo cannot be stylized; `reason` is in UPPER_SNAKE_CASE."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


async def stylize(client: AsyncClient, photo: Photo, task: Task, report: Callable[[str], None]) -> tuple[Job, Result]:
    """Create the job of a photo, or find the one of an earlier run, and wait for its result.

    A server that is away or has no place is waited for; `report` is called with the reason.

    Raises
    ------
    PhotoError
        The photo cannot be stylized.
    TaskError
        No photo can.
    """
    attempt, pauses = 1, _Pauses(report)
    while True:
        try:
            return await _follow(client, photo, task, attempt)
        except _JobFailedError as failed:
            if failed.error.reason not in _UNLUCKY or attempt == MAX_ATTEMPTS:
                raise PhotoError(failed.error.reason, failed.error.message) from failed
            attempt += 1
            report(f"{failed.error.message}; attempt {attempt} of {MAX_ATTEMPTS}")
        except StylizeError as error:
            await pauses.after(error)


class _JobFailedError(Exception):
    """A job ended without a result."""

    def __init__(self, error: StylizeError) -> None:
        super().__init__(error.message)
        self.error = error


async def _follow(client: AsyncClient, photo: Photo, task: Task, attempt: int) -> tuple[Job, Result]:
    try:
        job = await client.jobs.create(
            photo.data,
            task.text,
            request_id=task.request_id(photo, attempt),
            result_format=task.result_format,
            previews={"every_steps": 0},
            priority="low",  # no person waits for it
            **task.options,
        )
    except OptionError as error:
        raise TaskError(str(error)) from error
    try:
        return job, await client.jobs.watch(job.name).result()
    except StylizeError as error:
        job = await client.jobs.get(job.name)
        if job.is_finished and job.state != "succeeded":
            raise _JobFailedError(job.error or error) from error
        raise


class _Pauses:
    """Waits before a call is repeated: as long as the server recommends, else ever longer."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._next_s = _FIRST_PAUSE_S

    async def after(self, error: StylizeError) -> None:
        """Wait after an error of a call; raises `PhotoError` or `TaskError` if a repetition makes no sense."""
        if _is_about_photo(error):
            raise PhotoError(error.reason or error.code, error.message) from error
        if not _is_passing(error):
            raise TaskError(f"{error.code}: {error.message}") from error
        pause_s = max(self._next_s, error.retry_delay_s or 0)
        self._report(f"{error.message}; trying again in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)


def _is_about_photo(error: StylizeError) -> bool:
    is_named = bool(error.violations) and all(violation.field == "spec.image" for violation in error.violations)
    is_too_large = error.code == "RESOURCE_EXHAUSTED" and not error.reason  # reported by gRPC itself
    return is_named or is_too_large


def _is_passing(error: StylizeError) -> bool:
    is_away = error.code in _AWAY and not error.reason
    return is_away or error.retry_delay_s is not None or error.reason in _PASSING
