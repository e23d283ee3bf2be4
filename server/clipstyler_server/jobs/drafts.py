"""Drafts: the photo of a job in a style at hand, drawn in one forward pass while the job waits or begins."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from clipstyler.spec import AUTO_DRAFT, StylizationSpec
from clipstyler.style_controls import StyleControls
from clipstyler_server.errors import Reason, ServiceError, Violation, invalid
from clipstyler_server.jobs.events import Draft
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.style_lane import Application, StyleLane
from clipstyler_server.jobs.style_matching import StyleMatcher
from clipstyler_server.jobs.style_store import StoredStyle, StyleStore
from clipstyler_server.observability import logs
from clipstyler_server.sharing import Caller


class _Choice(NamedTuple):
    """The style of a draft, and how near its text is; None if the caller named it."""

    style: StoredStyle
    similarity: float | None


class Drafts:
    """Draws drafts beside the queue: no job waits for one, and a job that ends or leaves takes its draft with it.

    Parameters
    ----------
    styles
        Which there are.
    matcher
        Chooses one.
    lane
        Applies it.
    scheduler
        Publishes drafts.
    """

    def __init__(
        self,
        styles: StyleStore,
        matcher: StyleMatcher,
        lane: StyleLane,
        scheduler: Scheduler,
    ) -> None:
        self._styles = styles
        self._matcher = matcher
        self._lane = lane
        self._scheduler = scheduler
        self._drawing: set[asyncio.Task[None]] = set()

    async def check(self, spec: StylizationSpec, caller: Caller) -> None:
        """Raise `ServiceError` INVALID_FIELD if the style that a draft is asked for in does not exist."""
        named = spec.previews.draft
        if not named or named == AUTO_DRAFT:
            return
        try:
            await self._styles.get(_digest(named), caller.scope)
        except ServiceError as problem:
            if problem.reason is not Reason.STYLE_NOT_FOUND:
                raise
            raise invalid(Violation("spec.previews.draft", problem.details.message)) from problem

    def begin(self, job: Job) -> None:
        """Draw the draft that a job asks for in the background; a job that is accepted calls for it once."""
        if job.spec.previews.draft:
            task = asyncio.create_task(self._draw_until_the_end(job), name=f"draft-{job.id}")
            self._drawing.add(task)
            task.add_done_callback(self._drawing.discard)

    async def close(self) -> None:
        """Stop drawing."""
        for task in self._drawing:
            task.cancel()
        await asyncio.gather(*self._drawing, return_exceptions=True)

    async def _draw_until_the_end(self, job: Job) -> None:
        drawing, ending = asyncio.create_task(self._draw(job)), asyncio.create_task(job.gone.wait())
        try:
            await asyncio.wait({drawing, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            drawing.cancel()
            ending.cancel()

    async def _draw(self, job: Job) -> None:
        """Draw and publish a draft; what prevents it is logged, because a job is worth more than its draft."""
        try:
            if choice := await self._choice(job):
                self._scheduler.publish_draft(job, await self._drawn(job, choice))
        except (ServiceError, OSError) as problem:
            logs.get_logger().warning("draft_not_drawn", job_id=job.id, problem=str(problem))
        except Exception:  # noqa: BLE001 - a defect costs a draft, not the server
            logs.get_logger().exception("draft_failed", job_id=job.id)

    async def _drawn(self, job: Job, choice: _Choice) -> Draft:
        digest, previews = choice.style.digest, job.spec.previews
        file = await self._styles.file(digest, job.caller.scope)
        application = Application(file, None, StyleControls(output_size=previews.max_size), previews.format)
        image = await self._lane.redrawn(application, job.picture, job.caller, max(0.0, job.remaining_s))
        return Draft(digest, choice.style.description.style_text, choice.similarity, image)

    async def _choice(self, job: Job) -> _Choice | None:
        """Choose the style that is named, or a bundled one that may stand for the text."""
        named = job.spec.previews.draft
        if named != AUTO_DRAFT:
            return _Choice(await self._styles.get(_digest(named), job.caller.scope), None)
        match = await self._matcher.match(job.spec)
        return _Choice(*match) if match else None


def _digest(style: str) -> str:
    return style.removeprefix("styles/")
