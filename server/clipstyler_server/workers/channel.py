"""Both directions of a pipe between two processes, each on a thread of its own, so that no caller blocks on a write."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Channel:
    """Sends without blocking, and calls back for each message and once at the end.

    Parameters
    ----------
    connection
        One end of a duplex pipe; the channel closes it.
    on_message
        Called on the reading thread with each message.
    on_end
        Called on the reading thread when the other side is closed.
    """

    def __init__(
        self, connection: Connection[Any, Any], on_message: Callable[[Any], None], on_end: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._on_message = on_message
        self._on_end = on_end
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send_all, name="channel-sender", daemon=True)
        self._reader = threading.Thread(target=self._read_all, name="channel-reader", daemon=True)

    def start(self) -> None:
        """Start reading and sending."""
        self._sender.start()
        self._reader.start()

    def send(self, message: object) -> None:
        """Send a message, in order; it is dropped if the other side is closed."""
        self._outgoing.put(message)

    def flush(self, timeout_s: float) -> None:
        """Send what is pending, then nothing more."""
        self._outgoing.put(None)
        self._sender.join(timeout_s)

    def _send_all(self) -> None:
        try:
            while (message := self._outgoing.get()) is not None:
                self._connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            # The other side is closed: the reader reports that.
            return

    def _read_all(self) -> None:
        try:
            while True:
                self._on_message(self._connection.recv())
        except (EOFError, OSError):
            self._on_end()
        finally:
            self._outgoing.put(None)
            self._sender.join()
            self._connection.close()
