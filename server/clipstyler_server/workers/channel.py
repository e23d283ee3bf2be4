"""Both directions of a pipe between two processes, each on a thread of its own, so that no caller blocks on a write.

A message that cannot be sent or read ends the connection: both sides notice, and no one waits for what was lost.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from clipstyler_server.observability import logs


class Channel:
    """Sends without blocking, and calls back for each message and once at the end.

    Parameters
    ----------
    connection
        One end of a duplex pipe; the channel closes it.
    on_message
        Called on the reading thread with each message.
    on_end
        Called on the reading thread when the other side is closed, or a message cannot be sent or read.
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
        except Exception:  # noqa: BLE001 - whatever it is, the message is lost
            logs.get_logger().exception("message_not_sent")
            self._hang_up()

    def _hang_up(self) -> None:
        """End the connection for both sides, whatever their threads are doing."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_RDWR)

    def _read_all(self) -> None:
        try:
            while True:
                self._on_message(self._connection.recv())
        except (EOFError, OSError):
            pass
        except Exception:  # noqa: BLE001 - whatever it is, the message is lost
            logs.get_logger().exception("message_not_read")
        finally:
            self._hang_up()
            self._outgoing.put(None)
            self._sender.join()
            self._connection.close()
            self._on_end()
