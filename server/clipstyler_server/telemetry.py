"""Metrics for Prometheus: one registry, in the front process, fed with events. Seconds and bytes are the units.

No label ever holds a text of a user or a name that a caller made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from clipstyler.evaluation.direction_cache import CacheStats

UNKNOWN_METHOD = "unknown"
_RPC_SECONDS = (0.005, 0.02, 0.1, 0.5, 2, 10, 30, 60, 120, 300, 600, 1800)
_JOB_SECONDS = (0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)
_STEP_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """Everything that is counted, by what happened rather than by metric.

    Attributes
    ----------
    registry
        Where a collector finds it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._with_preview: str | None = None
        self._rpcs = self._counter("rpcs", "RPCs that ended, by method and code.", "method", "code")
        self._rpc_seconds = self._histogram("rpc_duration_seconds", "Duration of RPCs.", _RPC_SECONDS, "method")
        self._jobs = self._histogram(
            "stylization_duration_seconds", "From acceptance to the end.", _JOB_SECONDS, "outcome"
        )
        self._steps = self._histogram("step_duration_seconds", "Duration of one optimizer update.", _STEP_SECONDS)
        self._first_preview = self._histogram(
            "first_preview_seconds", "From acceptance to the first preview.", _JOB_SECONDS
        )
        self._steps_after_cancel = self._histogram(
            "steps_after_cancel", "Optimizer updates that ended after a cancel had arrived.", (0, 1, 2, 5, 20)
        )
        self._frames_sent = self._counter("frames_sent", "Progress events and previews sent.", "kind")
        self._frames_skipped = self._counter("frames_skipped", "Left out because a reader was slow.", "kind")
        self._sent_bytes = self._counter("sent_image_bytes", "Bytes of images sent.", "kind")
        self._photo_bytes = self._histogram(
            "photo_bytes", "Size of accepted photos.", tuple(4**n * 1024 for n in range(9))
        )
        self._storage_failures = self._counter("storage_failures", "Writes and reads that failed.", "reason")
        self._restarts = self._counter("worker_restarts", "Worker processes that were lost, and replaced.")

        self._directions = self._counter("text_directions", "Text directions, by where they came from.", "origin")
        self._direction_cache = {
            field: self._gauge(f"text_direction_cache_{name}", f"The evaluator's directions in memory: {name}.")
            for field, name in zip(CacheStats._fields, ("entries", "bytes", "evictions", "refused"), strict=True)
        }
        self._provider = self._gauge(
            "evaluator_provider", "1 for what executes the arithmetic of encoders.", "encoders", "backend"
        )
        self._evaluator_restarts = self._counter("evaluator_restarts", "Evaluators that were lost, and replaced.")

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Register a gauge that is read when it is collected."""
        gauge = Gauge(f"clipstyler_{name}", description, registry=self.registry)
        gauge.set_function(read)

    def rpc_ended(self, method: str, code: str, seconds: float) -> None:
        """Count an RPC."""
        self._rpcs.labels(method, code).inc()
        self._rpc_seconds.labels(method).observe(seconds)

    def job_ended(self, outcome: str, seconds: float) -> None:
        """Count a job that reached its end."""
        self._jobs.labels(outcome).observe(seconds)

    def step_taken(self, seconds: float) -> None:
        """Count an optimizer update."""
        self._steps.observe(seconds)

    def preview_made(self, job_id: str, age_s: float) -> None:
        """Note the time to a job's first preview; jobs run one after the other."""
        if self._with_preview != job_id:
            self._with_preview = job_id
            self._first_preview.observe(age_s)

    def steps_after_cancel(self, steps: int) -> None:
        """Count the updates that a cancelled job made too many."""
        self._steps_after_cancel.observe(steps)

    def frame_sent(self, kind: str, image_bytes: int = 0) -> None:
        """Count a progress event, a preview, a chunk or a result that went out."""
        self._frames_sent.labels(kind).inc()
        if image_bytes:
            self._sent_bytes.labels(kind).inc(image_bytes)

    def frames_skipped(self, progress: int, previews: int) -> None:
        """Count what a slow reader did not get."""
        self._frames_skipped.labels("progress").inc(progress)
        self._frames_skipped.labels("preview").inc(previews)

    def photo_accepted(self, size_bytes: int) -> None:
        """Count an accepted photo."""
        self._photo_bytes.observe(size_bytes)

    def worker_lost(self) -> None:
        """Count a lost worker."""
        self._restarts.inc()

    def direction_found(self, origin: str, stats: CacheStats | None = None) -> None:
        """Count a text direction, and note how the evaluator's cache is now."""
        self._directions.labels(origin).inc()
        for field, value in (stats._asdict() if stats else {}).items():
            self._direction_cache[field].set(value)

    def evaluator_ready(self, backends: Mapping[str, str]) -> None:
        """Note what executes the arithmetic of each of the evaluator's encoders."""
        self._provider.clear()
        for encoders, backend in backends.items():
            self._provider.labels(encoders, backend).set(1)

    def evaluator_lost(self) -> None:
        """Count a lost evaluator."""
        self._evaluator_restarts.inc()

    def storage_failed(self, reason: str) -> None:
        """Count a write or a read that failed."""
        self._storage_failures.labels(reason).inc()

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"clipstyler_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"clipstyler_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"clipstyler_{name}", description, labels, buckets=buckets, registry=self.registry)
