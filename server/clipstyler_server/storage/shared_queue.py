"""The queue that servers of one database share: jobs in the order of `turns.py`, each taken by one server.

Whoever changes the order locks the one row that remembers it, and reads what waits; both are small. Times are the
database's. Everything here is called inside of `Storage.write` or `Storage.read`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from clipstyler_server.sharing import Caller
from clipstyler_server.storage.database import Database, record_of
from clipstyler_server.storage.leases import NOW
from clipstyler_server.storage.records import SEQUENCE_STRIDE, Record, State
from clipstyler_server.storage.tables import FRONTS, QUEUE, STYLIZATIONS
from clipstyler_server.turns import QueueFullError, Turns

CHANNEL = "clipstyler"
"""Of `NOTIFY`: something has changed, and each server looks what."""
_T = STYLIZATIONS.c
_ALIVE = select(FRONTS.c.id).where(FRONTS.c.lease_until > NOW)
_SHARED = _T.arrival.is_not(None)
_WAITS = and_(_T.state == State.QUEUED, _SHARED)
_RUNS = and_(_T.state == State.RUNNING, _SHARED)
_HOMELESS = and_(_T.one_shot, _T.home.not_in(_ALIVE))
_ORPHANED = and_(_RUNS, or_(_T.lease_owner.is_(None), _T.lease_owner.not_in(_ALIVE)))
_DUE = or_(_ORPHANED, and_(_WAITS, or_(_HOMELESS, _T.deadline_at <= NOW)))
_LEFT = and_(_RUNS, _HOMELESS, _T.cancel.is_(None))


@dataclass(frozen=True)
class Ticket:
    """A waiting job, as far as its place in the queue goes."""

    id: str
    caller: Caller
    priority: int


@dataclass(frozen=True)
class Backlog:
    """What waits, with the memory of whose turn it is and in order, and how many jobs run on how many devices."""

    turns: Turns[Ticket]
    order: list[Ticket]
    running: int
    devices: int


@dataclass(frozen=True)
class Ending:
    """How a job ends that no server runs: its state, and its last event as JSON."""

    state: State
    end: str


Verdict = Callable[[Record, float, bool], Ending | None]
"""Decides about a job that lost its server, its caller (the flag says so) or its time; None lets it wait again."""


class SharedQueue:
    """Changes the order and the owners of jobs, each change in one transaction.

    Parameters
    ----------
    database
        PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: Record, places: int, places_of_caller: int) -> None:
        """Store a job that waits from now on. Its times are set anew, as far apart as they are.

        Raises
        ------
        QueueFullError
            All places are taken, or all that its caller may have.
        sqlalchemy.exc.IntegrityError
            There is a job of this tenant and request id.
        """
        with self._database.transaction() as connection:
            turns, arrivals = _locked(connection)
            _check_places(connection, turns, record.account, places, places_of_caller)
            now = connection.execute(select(NOW)).scalar_one()
            timed = dataclasses.replace(
                record, created_at=now, deadline_at=now + record.deadline_at - record.created_at, arrival=arrivals + 1
            )
            connection.execute(insert(STYLIZATIONS).values(**dataclasses.asdict(timed)))
            turns.add(Ticket(record.id, Caller(record.account, record.client), record.priority))
            _save(connection, turns, arrivals + 1)

    def claim(self, front_id: str) -> Record | None:
        """Take the next job for a server; None if none waits, or the server's lease has ended."""
        with self._database.transaction() as connection:
            turns, arrivals = _locked(connection)
            if not turns or not connection.scalar(_ALIVE.where(FRONTS.c.id == front_id)):
                return None
            record = None
            while record is None and turns:
                record = _taken(connection, turns.take().id, front_id)
            _save(connection, turns, arrivals)
            return record

    def put_back(self, job_id: str, lease: str, first: bool = True) -> bool:
        """Return a running job to the queue; returns whether the lease had it.

        One that goes first goes before others of its caller, whose turn is given back; otherwise others have theirs.
        """
        with self._database.transaction() as connection:
            turns, arrivals = _locked(connection)
            mine = and_(_T.id == job_id, _T.lease_owner == lease)
            is_back = _wait_again(connection, turns, mine, crashed=False, first=first)
            if is_back:
                _save(connection, turns, arrivals)
            return is_back

    def release(self, lease: str, kept: Collection[str] = ()) -> None:
        """Return all jobs of a server to the queue, except those that it keeps."""
        with self._database.transaction() as connection:
            given_up = and_(_RUNS, _T.lease_owner == lease, _T.id.not_in(kept))
            for job_id in list(connection.scalars(select(_T.id).where(given_up).order_by(_T.arrival.desc()))):
                turns, arrivals = _locked(connection)
                _wait_again(connection, turns, _T.id == job_id, crashed=False)
                _save(connection, turns, arrivals)

    def take_over(self, verdict: Verdict) -> list[Record]:
        """Decide about all jobs that lost their server, their caller or their time; returns them as they were."""
        with self._database.transaction() as connection:
            if not connection.scalar(select(_T.id).where(or_(_DUE, _LEFT)).limit(1)):
                return []
        with self._database.transaction() as connection:
            turns, arrivals = _locked(connection)
            connection.execute(delete(FRONTS).where(FRONTS.c.lease_until <= NOW))
            connection.execute(update(STYLIZATIONS).where(and_(_LEFT, ~_ORPHANED)).values(cancel="caller_left"))
            now = connection.execute(select(NOW)).scalar_one()
            homeless = set(connection.scalars(select(_T.id).where(_DUE, _HOMELESS)))
            # The oldest last: each goes before the others of its caller.
            due = connection.execute(select(STYLIZATIONS).where(_DUE).order_by(_T.arrival.desc()))
            records = [record_of(row) for row in due]
            for record in records:
                if ending := verdict(record, now, record.id in homeless):
                    _end(connection, record, ending, now)
                else:
                    _wait_again(connection, turns, _T.id == record.id, crashed=True)
            _save(connection, turns, arrivals)
            return records

    def cancel(self, job_id: str, reason: str, end: str) -> bool:
        """End a waiting job with its last event; of a running one, note why its server is to cancel it.

        Returns whether it is over.
        """
        with self._database.transaction() as connection:
            changes = {"state": State.CANCELLED, "ended_at": NOW, "sequence": _T.sequence + SEQUENCE_STRIDE, "end": end}
            # Between two looks at it, it could be returned to the queue, and be missed by both.
            connection.execute(select(_T.id).where(_T.id == job_id).with_for_update())
            waiting = update(STYLIZATIONS).where(and_(_T.id == job_id, _WAITS)).values(**changes)
            is_over = bool(connection.execute(waiting).rowcount)
            if not is_over:
                running = and_(_T.id == job_id, _RUNS, _T.cancel.is_(None))
                connection.execute(update(STYLIZATIONS).where(running).values(cancel=reason))
            _notify(connection)
            return is_over

    def cancelled(self, lease: str) -> dict[str, str]:
        """List the running jobs of a server that are to be cancelled, each with why."""
        asked = and_(_RUNS, _T.lease_owner == lease, _T.cancel.is_not(None))
        with self._database.transaction() as connection:
            return {row.id: row.cancel for row in connection.execute(select(_T.id, _T.cancel).where(asked))}

    def note_steps(self, steps: Mapping[str, int], lease: str) -> None:
        """Store how many steps jobs of a server have completed."""
        with self._database.transaction() as connection:
            for job_id, step in steps.items():
                mine = and_(_T.id == job_id, _RUNS, _T.lease_owner == lease)
                connection.execute(update(STYLIZATIONS).where(mine).values(step=step))

    def backlog(self) -> Backlog:
        """Read what waits."""
        with self._database.transaction() as connection:
            memory = connection.execute(select(QUEUE.c.turns)).scalar_one()
            turns = Turns.load(memory, _tickets(connection))
            return Backlog(turns, turns.order(), *_at_work(connection))


def _locked(connection: Connection) -> tuple[Turns[Ticket], int]:
    """Lock the queue until the end of the transaction; returns the turns, and the number of arrivals so far."""
    row = connection.execute(select(QUEUE).with_for_update()).one()
    return Turns.load(row.turns, _tickets(connection)), row.arrivals


def _save(connection: Connection, turns: Turns[Ticket], arrivals: int) -> None:
    connection.execute(update(QUEUE).values(turns=turns.dump(), arrivals=arrivals))
    _notify(connection)


def _notify(connection: Connection) -> None:
    """Wake the other servers when the transaction is committed."""
    connection.execute(select(func.pg_notify(CHANNEL, "")))


def _tickets(connection: Connection) -> list[Ticket]:
    query = select(_T.id, _T.account, _T.client, _T.priority).where(_WAITS).order_by(_T.arrival)
    return [Ticket(row.id, Caller(row.account, row.client), row.priority) for row in connection.execute(query)]


def _at_work(connection: Connection) -> tuple[int, int]:
    """Count running jobs and devices."""
    devices = select(func.coalesce(func.sum(FRONTS.c.devices), 1)).where(FRONTS.c.lease_until > NOW)
    running = select(func.count()).select_from(STYLIZATIONS).where(_RUNS)
    return connection.execute(running).scalar_one(), int(connection.execute(devices).scalar_one())


def _check_places(
    connection: Connection, turns: Turns[Ticket], account: str, places: int, places_of_caller: int
) -> None:
    running, devices = _at_work(connection)
    free = max(0, devices - running)
    if len(turns) >= places + free:
        raise QueueFullError(places, of_caller=False)
    if turns.waiting(account) >= places_of_caller + free:
        raise QueueFullError(places_of_caller, of_caller=True)


def _taken(connection: Connection, job_id: str, front_id: str) -> Record | None:
    """Make a waiting job one of a server; None if it was cancelled meanwhile."""
    changes = {
        "state": State.RUNNING,
        "lease_owner": front_id,
        "sequence": _T.sequence + SEQUENCE_STRIDE,
        "step": 0,
    }
    taking = update(STYLIZATIONS).where(and_(_T.id == job_id, _WAITS)).values(**changes).returning(STYLIZATIONS)
    row = connection.execute(taking).first()
    return record_of(row) if row else None


def _wait_again(
    connection: Connection, turns: Turns[Ticket], which: ColumnElement[bool], crashed: bool, first: bool = True
) -> bool:
    changes = {"state": State.QUEUED, "lease_owner": None, "started_at": None, "step": 0}
    returning = update(STYLIZATIONS).where(and_(which, _RUNS)).values(**changes, crashes=_T.crashes + int(crashed))
    row = connection.execute(returning.returning(_T.id, _T.account, _T.client, _T.priority)).first()
    if row:
        turns.add(Ticket(row.id, Caller(row.account, row.client), row.priority), first)
    return row is not None


def _end(connection: Connection, record: Record, ending: Ending, now: float) -> None:
    changes = {
        "state": ending.state,
        "ended_at": now,
        "sequence": record.sequence + SEQUENCE_STRIDE,
        "end": ending.end,
        "lease_owner": None,
    }
    connection.execute(update(STYLIZATIONS).where(_T.id == record.id).values(**changes))
