"""Leases of the servers that share a database: who is alive, by the database's clock and no other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Double, cast, delete, func, insert, select, update

from clipstyler_server.storage.database import Database
from clipstyler_server.storage.tables import FRONTS

_F = FRONTS.c
NOW: ColumnElement[float] = cast(func.extract("epoch", func.clock_timestamp()), Double)
"""Seconds since 1970, by the database's clock."""


@dataclass(frozen=True)
class Front:
    """A server that shares a database.

    Attributes
    ----------
    id
        Of its lease: another one whenever it registers.
    server
        Of its data directory, which stays the same.
    address
        Where other servers reach it by gRPC.
    key
        What they show it.
    devices
        Jobs that it runs at the same time.
    """

    id: str
    server: str
    address: str
    key: str = field(repr=False)
    devices: int


class Leases:
    """Rows of servers that are alive.

    Parameters
    ----------
    database
        That they share.
    lease_s
        Seconds after its latest renewal at which a server counts as dead.
    """

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s

    def register(self, front: Front) -> float:
        """Take a lease; earlier ones of the same data directory end. Returns the database's time."""
        with self._database.transaction() as connection:
            connection.execute(delete(FRONTS).where(_F.server == front.server))
            values: dict[str, Any] = dataclasses.asdict(front) | {"lease_until": NOW + self._lease_s}
            connection.execute(insert(FRONTS).values(**values))
            return connection.execute(select(NOW)).scalar_one()

    def renew(self, front_id: str) -> float | None:
        """Renew a lease; returns the database's time, None if the lease has ended."""
        alive = (_F.id == front_id) & (_F.lease_until > NOW)
        with self._database.transaction() as connection:
            renewed = connection.execute(update(FRONTS).where(alive).values(lease_until=NOW + self._lease_s))
            return connection.execute(select(NOW)).scalar_one() if renewed.rowcount else None

    def leave(self, front_id: str) -> None:
        """End a lease."""
        with self._database.transaction() as connection:
            connection.execute(delete(FRONTS).where(_F.id == front_id))

    def alive(self) -> list[Front]:
        """List the servers that are alive."""
        columns = [_F[field.name] for field in dataclasses.fields(Front)]
        with self._database.transaction() as connection:
            rows = connection.execute(select(*columns).where(_F.lease_until > NOW))
            return [Front(**row._mapping) for row in rows]
