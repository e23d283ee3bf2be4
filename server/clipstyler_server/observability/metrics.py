"""Metrics for Prometheus: one registry in the front process, fed with events. Units are seconds and bytes.

No label ever holds a text of a user or a name chosen by a caller. Times of sampled traces have the trace's id as an
exemplar, for readers of OpenMetrics.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import get_args

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from clipstyler import __version__
from clipstyler.evaluation.direction_cache import CacheStats, Origin
from clipstyler_server.observability.tenant_metrics import TenantMetrics

OTHER_METHOD = "other"
"""Method of calls to methods that the server does not have, as gRPC's proposal A66 names it."""
# A66 ends at 100 s; a stream lasts as long as its job.
_CALL_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
_CALL_BYTES = (0, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864)
_JOB_SECONDS = (0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)
_CANCEL_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_PAUSE_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
_STEP_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_IMAGES = ("preview", "draft", "chunk", "result")


Labeled = Callable[[], Mapping[tuple[str, ...], float]]
"""Returns the values of a gauge by its labels."""


class _Labeled(Collector):
    """A gauge whose labels and values are read on collection."""

    def __init__(self, name: str, description: str, labels: tuple[str, ...], read: Labeled) -> None:
        self._name = name
        self._description = description
        self._labels = labels
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Read the values."""
        family = GaugeMetricFamily(self._name, self._description, labels=self._labels)
        for labels, value in self._read().items():
            family.add_metric(labels, value)
        yield family


class Metrics:
    """Records what happens; methods are named by event, not by metric. `trace` is the id of a sampled trace, or empty.

    Parameters
    ----------
    with_tenants
        Whether tenants are named.

    Attributes
    ----------
    registry
        For collectors.
    tenants
        What each tenant has done.
    """

    def __init__(self, with_tenants: bool = False) -> None:
        self.registry = CollectorRegistry()
        self.tenants = TenantMetrics(self.registry, with_tenants)
        versions = {"version": __version__, "python": platform.python_version(), "grpc": grpc.__version__}
        Info("clipstyler_build", "Versions of this server.", registry=self.registry).info(versions)
        self._calls_started = Counter(
            "grpc_server_call_started", "Calls that began.", ["grpc_method"], registry=self.registry
        )
        self._call_seconds = self._call_histogram("duration_seconds", "Duration of calls.", _CALL_SECONDS)
        self._call_sent, self._call_received = (
            self._call_histogram(f"{way}_total_compressed_message_size_bytes", description, _CALL_BYTES)
            for way, description in (("sent", "Bytes of the responses of a call."), ("rcvd", "Those of its requests."))
        )
        # By status alone: each method with each status would be hundreds of series.
        self._calls_ended = self._counter("calls_ended", "Calls that ended, of all methods.", "grpc_status")
        self._jobs = self._histogram(
            "stylization_duration_seconds", "Time from acceptance to the end of a job.", _JOB_SECONDS, "outcome"
        )
        self._queue_wait = self._histogram("queue_wait_seconds", "Time from acceptance to the start.", _JOB_SECONDS)
        self._preparation = self._histogram(
            "preparation_seconds", "Time from the start of a job to its first step.", _JOB_SECONDS
        )
        self._steps = self._histogram("step_duration_seconds", "Duration of one optimizer step.", _STEP_SECONDS)
        self._first_preview = self._histogram(
            "first_preview_seconds", "Time from acceptance to the first preview.", _JOB_SECONDS
        )
        self._steps_after_cancel = self._histogram(
            "steps_after_cancel", "Optimizer steps completed after a cancellation had arrived.", (0, 1, 2, 5, 20)
        )
        self._cancel_to_idle = self._histogram(
            "cancel_to_idle_seconds", "Time from a cancellation at work until the device was idle.", _CANCEL_SECONDS
        )
        self._unwatched_steps = self._counter("unwatched_steps", "Optimizer steps of jobs that no call followed.")
        self._frames_sent = self._counter(
            "frames_sent", "Progress events, drafts, previews, chunks and results sent.", "kind"
        )
        self._frames_skipped = self._counter("frames_skipped", "Frames left out because a reader was slow.", "kind")
        self._sent_bytes = self._counter("sent_image_bytes", "Bytes of images sent.", "kind")
        self._photo_bytes = self._histogram(
            "photo_bytes", "Size of accepted photos.", tuple(4**n * 1024 for n in range(9))
        )
        self._styles = self._histogram(
            "style_application_seconds",
            "Time from decoding a photo to its result in a style.",
            _STEP_SECONDS,
            "outcome",
        )
        self._storage_failures = self._counter("storage_failures", "Failed reads and writes.", "reason")
        self._fronts = self._gauge("fronts", "Servers that share the database, this one included; 0 if none does.")
        self._takeovers = self._counter("jobs_taken_over", "Jobs that a server which is gone left behind.")
        self._lost_leases = self._counter("leases_lost", "Leases that this server could not renew in time.")
        self._restarts = self._counter("worker_restarts", "Worker processes that exited unexpectedly.", "worker")
        self._loop_pauses = self._histogram(
            "event_loop_pause_seconds", "Time that the event loop did not come round.", _PAUSE_SECONDS
        )
        self._longest_pause_s = 0.0
        self.watch("event_loop_longest_pause_seconds", "The longest of these pauses.", lambda: self._longest_pause_s)
        self._directions = self._counter("text_directions", "Text directions, by origin.", "origin")
        self._direction_cache = {
            field: self._gauge(f"text_direction_cache_{name}", f"Directions in the evaluator's memory: {name}.")
            for field, name in zip(CacheStats._fields, ("entries", "bytes", "evictions", "refused"), strict=True)
        }
        self._device_memory = self._gauge("device_memory_bytes", "Memory of an optimizer's device.", "device", "kind")
        self._provider = self._gauge(
            "evaluator_provider", "1 for the active execution backend of an encoder set.", "encoder_set", "backend"
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Give series their labels: a rate sees the first event only if there was a zero before."""
        for metric, labels in (
            (self._jobs, ("succeeded", "failed", "cancelled")),
            (self._calls_ended, tuple(status.name for status in grpc.StatusCode)),
            (self._frames_sent, ("progress", *_IMAGES)),
            (self._frames_skipped, ("progress", "preview")),
            (self._sent_bytes, _IMAGES),
            (self._styles, ("succeeded",)),
            (self._directions, ("front", *get_args(Origin))),
            (self._storage_failures, ("full", "unavailable", "damaged")),
            (self._restarts, ("optimizer", "evaluator", "decoder")),
        ):
            for label in labels:
                metric.labels(label)

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Register a gauge that is read on collection."""
        gauge = Gauge(f"clipstyler_{name}", description, registry=self.registry)
        gauge.set_function(read)

    def watch_each(self, name: str, description: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Register a gauge with one label that is read on collection: values by label."""
        self.watch_all(name, description, (label,), lambda: {(key,): value for key, value in read().items()})

    def watch_all(self, name: str, description: str, labels: tuple[str, ...], read: Labeled) -> None:
        """Register a gauge with several labels that is read on collection."""
        self.registry.register(_Labeled(f"clipstyler_{name}", description, labels, read))

    def loop_paused(self, seconds: float) -> None:
        """Record how long the event loop did not come round."""
        self._loop_pauses.observe(seconds)
        self._longest_pause_s = max(self._longest_pause_s, seconds)

    def call_started(self, method: str) -> None:
        """Count a call that begins. Methods are named with a slash, as gRPC does."""
        self._calls_started.labels(_method_label(method)).inc()

    def call_ended(
        self, method: str, status: str, seconds: float, received_bytes: int, sent_bytes: int, trace: str = ""
    ) -> None:
        """Record a call that has ended, with the bytes of its messages."""
        labels = _method_label(method), status
        self._calls_ended.labels(status).inc()
        self._call_seconds.labels(*labels).observe(seconds, _exemplar(trace))
        self._call_received.labels(*labels).observe(received_bytes)
        self._call_sent.labels(*labels).observe(sent_bytes)

    def job_started(self, waited_s: float, trace: str = "") -> None:
        """Record how long a job waited."""
        self._queue_wait.observe(waited_s, _exemplar(trace))

    def job_prepared(self, seconds: float, trace: str = "") -> None:
        """Record how long a job took from its start to its first step."""
        self._preparation.observe(seconds, _exemplar(trace))

    def job_finished(self, outcome: str, seconds: float, trace: str = "") -> None:
        """Count a finished job."""
        self._jobs.labels(outcome).observe(seconds, _exemplar(trace))

    def job_cancelled(self, seconds: float, trace: str = "") -> None:
        """Record how long the device worked after a cancellation."""
        self._cancel_to_idle.observe(seconds, _exemplar(trace))

    def steps_completed(self, steps: int, mean_s: float, is_watched: bool, trace: str = "") -> None:
        """Count optimizer steps of a job that a call follows, or none."""
        for _ in range(steps):
            self._steps.observe(mean_s, _exemplar(trace))
        if not is_watched:
            self._unwatched_steps.inc(steps)

    def first_preview_made(self, age_s: float, trace: str = "") -> None:
        """Record the time to a job's first preview."""
        self._first_preview.observe(age_s, _exemplar(trace))

    def steps_after_cancel(self, steps: int) -> None:
        """Count the steps that a cancelled job completed after the cancellation."""
        self._steps_after_cancel.observe(steps)

    def frame_sent(self, kind: str, image_bytes: int = 0) -> None:
        """Count a progress event, draft, preview, chunk or result that was sent."""
        self._frames_sent.labels(kind).inc()
        if image_bytes:
            self._sent_bytes.labels(kind).inc(image_bytes)

    def frames_skipped(self, progress: int, previews: int) -> None:
        """Count what a slow reader did not receive."""
        self._frames_skipped.labels("progress").inc(progress)
        self._frames_skipped.labels("preview").inc(previews)

    def photo_accepted(self, size_bytes: int) -> None:
        """Count an accepted photo."""
        self._photo_bytes.observe(size_bytes)

    def style_applied(self, outcome: str, seconds: float) -> None:
        """Count a photo that a style was applied to, or why it could not be."""
        self._styles.labels(outcome).observe(seconds)

    def worker_lost(self, worker: str) -> None:
        """Count a worker process that exited unexpectedly, by kind."""
        self._restarts.labels(worker).inc()

    def direction_found(self, origin: str, stats: CacheStats | None = None) -> None:
        """Count a text direction, and record the state of the evaluator's cache."""
        self._directions.labels(origin).inc()
        for field, value in (stats._asdict() if stats else {}).items():
            self._direction_cache[field].set(value)

    def device_memory(self, device: str, sizes: Mapping[str, int]) -> None:
        """Record the memory of an optimizer's device, by kind."""
        for kind, size in sizes.items():
            self._device_memory.labels(device, kind).set(size)

    def evaluator_ready(self, backends: Mapping[str, str]) -> None:
        """Record the active backend of each of the evaluator's encoder sets."""
        self._provider.clear()
        for encoder_set, backend in backends.items():
            self._provider.labels(encoder_set, backend).set(1)

    def storage_failed(self, reason: str) -> None:
        """Count a failed read or write."""
        self._storage_failures.labels(reason).inc()

    def fronts_seen(self, count: int) -> None:
        """Record how many servers share the database."""
        self._fronts.set(count)

    def job_taken_over(self) -> None:
        """Count a job whose server is gone, and which this one returned to the queue or ended."""
        self._takeovers.inc()

    def lease_lost(self) -> None:
        """Count a lease that ended before it was renewed."""
        self._lost_leases.inc()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics in the format that a reader accepts, OpenMetrics or else Prometheus', and its type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _call_histogram(self, name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
        """Make a histogram of calls, with the names and labels of gRPC's proposal A66 for all servers."""
        labels = ("grpc_method", "grpc_status")
        return Histogram(f"grpc_server_call_{name}", description, labels, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"clipstyler_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"clipstyler_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"clipstyler_{name}", description, labels, buckets=buckets, registry=self.registry)


def _exemplar(trace: str) -> dict[str, str] | None:
    return {"trace_id": trace} if trace else None


def _method_label(method: str) -> str:
    return method.removeprefix("/")
