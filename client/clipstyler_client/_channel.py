"""Channel options that fit this service, and stubs on a channel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from clipstyler_client._credentials import is_loopback
from clipstyler_client._errors import InvalidRequestError, StylizationCancelledError
from clipstyler_client._options import OptionError

DEFAULT_TARGET = "127.0.0.1:50051"
_MIB = 2**20
_LARGEST_MESSAGE = 2**31 - 1  # of protobuf
_PORT = re.compile(r":(\d+)$")
_LARGEST_PORT = 65_535
_PROXY = "grpc_proxy"  # an environment variable of gRPC


def check_target(target: str) -> None:
    """Refuse what gRPC would read as something else: of a port that is too large it takes the lower 16 bits.

    Raises
    ------
    OptionError
        The target is empty, no text or a URL, or has no such port.
    """
    if not isinstance(target, str):
        raise _no_address(target)
    port = _PORT.search(target)
    is_url = target.startswith(("http://", "https://"))
    if not target.strip() or not target.isprintable() or is_url or (port and int(port[1]) > _LARGEST_PORT):
        raise _no_address(target)


def _no_address(target: object) -> OptionError:
    return OptionError("target", f"{target!r} is no address of a server: use HOST:PORT, such as {DEFAULT_TARGET}")


def channel_options(target: str) -> list[tuple[str, str | int]]:
    """Build options: gRPC sends what no server has processed once more, photos too; pings detect a dead connection.

    A proxy is used only if `grpc_proxy` names one, and never on loopback: `http_proxy` and `https_proxy` are often set
    for other programs, and their proxies rarely pass HTTP/2.
    """
    return [
        ("grpc.enable_http_proxy", int(bool(os.environ.get(_PROXY)) and not is_loopback(target))),
        ("grpc.per_rpc_retry_buffer_size", 64 * _MIB),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", 60_000),
        # A server that restarts is back within seconds.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]


class Stub:
    """A stub whose calls carry metadata, and are cancelled if the channel is closed already."""

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...], is_closed: Callable[[], bool]) -> None:
        self._stub = stub
        self._metadata = metadata
        self._is_closed = is_closed

    def __getattr__(self, method: str) -> Any:
        return partial(self._call, getattr(self._stub, method))

    def _call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        check_size(request)
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except (ValueError, grpc.aio.UsageError) as error:  # of a closed channel: without asyncio, and with it
            if not self._is_closed():
                raise
            raise StylizationCancelledError("CANCELLED", "the client was closed") from error


def check_size(request: Any) -> None:
    """Refuse a message that cannot be encoded, which gRPC would report as a failure of its own.

    Raises
    ------
    InvalidRequestError
        It is larger than any message.
    """
    size = request.ByteSize() if isinstance(request, Message) else 0
    if size > _LARGEST_MESSAGE:
        problem = f"the request has {size} bytes, and a message at most {_LARGEST_MESSAGE}"
        raise InvalidRequestError("INVALID_ARGUMENT", problem, "INVALID_FIELD")
