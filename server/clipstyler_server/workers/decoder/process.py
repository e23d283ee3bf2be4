"""The decoder process: parses headers and pixels of images from outside, one after the other.

It needs Pillow and NumPy only, and starts in a moment.
"""

from __future__ import annotations

import signal
import time
from multiprocessing.connection import Connection
from typing import Any

from clipstyler.imaging import ImageError, decode, fit, read_header
from clipstyler_server.observability import logs
from clipstyler_server.workers.decoder.messages import Decode, Decoded, Inspect, Inspected, Undecodable
from clipstyler_server.workers.messages import Shutdown


def main(connection: Connection[Any, Any], log_level: str, log_format: str) -> None:
    """Run the process until the front process exits."""
    logs.configure(log_level, log_format, "decoder")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            request = connection.recv()
            if isinstance(request, Shutdown):
                return
            connection.send(_answer(request))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _answer(request: Inspect | Decode) -> Inspected | Decoded | Undecodable:
    try:
        return _inspected(request) if isinstance(request, Inspect) else _decoded(request)
    except ImageError as error:
        return Undecodable(request.number, str(error))
    except MemoryError:
        return Undecodable(request.number, "the image does not fit into memory: send a smaller one")


def _inspected(request: Inspect) -> Inspected:
    return Inspected(request.number, read_header(request.data, request.limits))


def _decoded(request: Decode) -> Decoded:
    begun = time.monotonic()
    header = read_header(request.data, request.limits)
    picture = fit(decode(request.data, request.limits), request.size, request.enlarge)
    return Decoded(request.number, picture, header, time.monotonic() - begun)
