"""Listens to what other servers of a database do. A notification only wakes: who is woken looks at the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy.engine import make_url

from clipstyler_server.observability import logs
from clipstyler_server.storage.database import POSTGRES
from clipstyler_server.storage.shared_queue import CHANNEL

_RETRY_S = 1.0


async def listen(url: str, notify: Callable[[], None]) -> None:
    """Call a function after every notification, and whenever some may have been missed, until cancelled.

    Parameters
    ----------
    url
        SQLAlchemy's, of a PostgreSQL database.
    notify
        Called on the event loop.
    """
    import psycopg

    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(address, autocommit=True, **POSTGRES) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                notify()
                async for _ in connection.notifies():
                    notify()
        except (OSError, psycopg.Error) as error:
            logs.get_logger().debug("notifications_lost", problem=str(error)[:500])
        await asyncio.sleep(_RETRY_S)
