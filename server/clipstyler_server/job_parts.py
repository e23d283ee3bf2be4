"""Which parts handle jobs: those of a server that has its jobs for itself, or of one that shares them with others."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from clipstyler_server.api.following import LocalFollower, SharedFollower
from clipstyler_server.api.peers import Peers
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.catalog import Catalog
from clipstyler_server.jobs.claims import Claims, SharedIntake
from clipstyler_server.jobs.fronts import Fronts
from clipstyler_server.jobs.intake import OwnQueue
from clipstyler_server.jobs.leased_persister import LeasedPersister
from clipstyler_server.jobs.persister import JobPersister
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.jobs.recovery import Recovery
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.shared_catalog import SharedCatalog
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import Tracer
from clipstyler_server.settings import Settings
from clipstyler_server.storage.notifications import listen
from clipstyler_server.storage.shared_queue import SharedQueue
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.engine import Devices, Engine


class OwnJobs:
    """Parts of a server that has its jobs for itself.

    Parameters
    ----------
    settings, storage, engine, devices, metrics, tracer
        Of the server.
    """

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        engine: Engine,
        devices: Devices,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self.backlog: JobQueue[Any] = JobQueue(settings.queue_capacity, settings.caller_share)
        self.persister = JobPersister(storage)
        self.scheduler = Scheduler(self.backlog, engine, devices, self.persister, metrics)
        self.intake = OwnQueue(self.scheduler, storage)
        self.catalog = Catalog(storage, self.scheduler)
        self.follower = LocalFollower(self.catalog, self.scheduler, settings.heartbeat_s)
        self._requeue = settings.on_restart == "requeue"
        self._storage = storage
        self._tracer = tracer
        self._recovery: Recovery | None = None

    def problems(self) -> list[str]:
        """Return nothing: its processes and its storage are all that it needs."""
        return []

    def peer_key(self) -> str:
        """Return nothing: it knows no other server."""
        return ""

    async def open(self, admission: Admission, address: str) -> None:  # noqa: ARG002 - no other server calls
        """Settle what an earlier run left, before any call is answered; raises `ServiceError`."""
        self._recovery = Recovery(self._storage, admission, self._requeue, self._tracer)
        await self._recovery.settle()

    async def resume(self) -> None:
        """Put the jobs that wait into the queue."""
        assert self._recovery is not None
        await self._recovery.resume()

    def background(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return nothing."""
        return {}

    async def close(self) -> None:
        """Leave what waits to the next start: it is stored."""
        self.intake.close()


class SharedJobs:
    """Parts of a server that shares a database and a directory of images with others.

    Parameters
    ----------
    settings, storage, engine, devices, metrics, tracer, identity
        Of the server.
    """

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        engine: Engine,
        devices: Devices,
        metrics: Metrics,
        tracer: Tracer,
        identity: IdentityFiles,
    ) -> None:
        self._queue = SharedQueue(storage.database)
        self.persister = LeasedPersister(storage, self._queue, self._holds)
        # Only what this server has claimed, and its device does not have yet.
        claimed: JobQueue[Any] = JobQueue(settings.queue_capacity)
        self.scheduler = Scheduler(claimed, engine, devices, self.persister, metrics, claims=True)
        self._fronts = Fronts(settings, storage, self._queue, self.scheduler, metrics)
        self.backlog: JobQueue[Any] = self._fronts.backlog
        self.intake = SharedIntake(self._fronts, self._queue, self.scheduler, storage)
        self.catalog = SharedCatalog(storage, self.scheduler, self._fronts, self._queue)
        peers = Peers(settings, identity)
        self.follower = SharedFollower(self.catalog, self.scheduler, self._fronts, peers, settings.heartbeat_s)
        self._url = settings.database_url
        self._storage = storage
        self._tracer = tracer
        self._claims: Claims | None = None

    def problems(self) -> list[str]:
        """Return that there is no lease, if there is none."""
        return self._fronts.problems

    def peer_key(self) -> str:
        """Return the key of the lease."""
        return self._fronts.front.key if self._fronts.front else ""

    async def open(self, admission: Admission, address: str) -> None:
        """Take a lease, under which others reach this server at an address; raises `ServiceError`."""
        self._claims = Claims(
            self._fronts, self._queue, self.intake, admission, self.scheduler, self._storage, self._tracer
        )
        await self._fronts.join(address)

    async def resume(self) -> None:
        """Claim jobs, until cancelled."""
        assert self._claims is not None
        await self._claims.run()

    def background(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return the keeping of the lease, the taking over, and the following of the queue."""
        return {
            "lease": self._fronts.keep_lease(),
            "takeover": self._fronts.take_over(),
            "follow": self._fronts.follow(),
            "listen": listen(self._url, self._fronts.notify),
        }

    async def close(self) -> None:
        """Return everything to the shared queue."""
        await self.intake.settle()
        await self._fronts.leave()

    def _holds(self, lease: str) -> bool:
        return self._fronts.holds(lease)


JobParts = OwnJobs | SharedJobs
"""Either has the same parts: a scheduler, its persister, an intake, a catalog, a follower, and what waits."""
