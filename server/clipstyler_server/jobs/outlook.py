"""When jobs are expected to start and to end, by the times that were measured and the devices that work now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from clipstyler.events import Timings
from clipstyler.spec import StylizationSpec
from clipstyler_server.jobs.estimator import Estimator, Expected
from clipstyler_server.jobs.events import Queued
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import unreachable_error
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.workers.engine import Devices

_LONGEST_RETRY_S = 600.0
_CERTAINTY = 0.8  # share of the estimated time that must fit before a deadline


class Outlook:
    """Estimates for the jobs of a scheduler.

    Parameters
    ----------
    queue, running
        Jobs that wait, and those that run, by id.
    devices
        What they run on.

    Attributes
    ----------
    estimator
        Learns how long jobs take.
    """

    def __init__(self, queue: JobQueue[Job], running: Mapping[str, Job], devices: Devices) -> None:
        self._queue = queue
        self._running = running
        self._devices = devices
        self.estimator = Estimator()

    def add_step(self, spec: StylizationSpec, step_s: float) -> None:
        """Learn from a step that was taken just now."""
        self.estimator.add_step(spec, step_s, self._together())

    def add_job(self, spec: StylizationSpec, timings: Timings) -> None:
        """Learn from a job that succeeded just now."""
        self.estimator.add_job(spec, timings, self._together())

    def check_deadline(self, job: Job) -> None:
        """Raise `ServiceError` DEADLINE_UNREACHABLE if a job, queued now, would not finish in time."""
        ends_s = self._expect([*self._queue.before(job), job])[-1].end_s
        if ends_s is not None and _CERTAINTY * ends_s > job.remaining_s:
            raise unreachable_error(ends_s, job.remaining_s)

    def queue_estimates(self) -> dict[str, Queued]:
        """Return for each waiting job, in order, how many are before it, and when it may start and end."""
        waiting, now = self._queue.order(), datetime.now(UTC)
        expected = self._expect(waiting)
        return {
            job.id: Queued(position, job.spec.seed, _moment(now, span.start_s), _moment(now, span.end_s))
            for position, (job, span) in enumerate(zip(waiting, expected, strict=True), start=len(self._running))
        }

    def remaining_s(self, job: Job) -> float | None:
        """Estimate the rest of a job that prepares: what it takes from its start on, less the time since then."""
        whole_s = self.estimator.seconds(job.spec, together=self._together())
        return None if whole_s is None else max(0.0, whole_s - (job.age_s - job.queued_s))

    def retry_delay_s(self) -> float:
        """Estimate when a place becomes free: when the first of the running jobs ends."""
        together = self._together()
        rests_s = [self.estimator.seconds(job.spec, job.step, together) for job in self._running.values()]
        known_s = [rest_s for rest_s in rests_s if rest_s is not None]
        return min(max(1.0, min(known_s, default=self.estimator.typical_job_s)), _LONGEST_RETRY_S)

    def _expect(self, waiting: list[Job]) -> list[Expected]:
        """Estimate when waiting jobs run, on the devices that work now; if none does, they are back soon."""
        return self.estimator.expect(
            list(self._running.values()),
            waiting,
            self._device_count() * self._devices.runs_per_device,
            self._together(len(waiting)),
        )

    def _together(self, more: int = 0) -> int:
        """Return how many jobs a device has at once: those that run, and so many more as far as there are places."""
        each = math.ceil((len(self._running) + more) / self._device_count())
        return min(max(1, each), self._devices.runs_per_device)

    def _device_count(self) -> int:
        return self._devices.ready_count or len(self._devices.statuses())


def _moment(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else now + timedelta(seconds=seconds)
