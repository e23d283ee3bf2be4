"""A channel to a server, and calls on it with errors of this package."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from clipstyler.v1 import (
    encoder_service_pb2_grpc,
    server_service_pb2_grpc,
    style_service_pb2_grpc,
    stylization_service_pb2_grpc,
)
from clipstyler_client._channel import Stub, channel_options, check_target
from clipstyler_client._credentials import token_metadata
from clipstyler_client._ending import POLL_S, Ending
from clipstyler_client._errors import StylizeError, own_errors
from clipstyler_client._resume import Retries

CALL_TIMEOUT_S = 60.0
_LOOK_S = 0.05


def problem_of(ending: Ending, error: grpc.RpcError) -> StylizeError:
    """Build the error of a call that failed, once it is known how it ended for the server."""
    while ending.may_change:
        time.sleep(POLL_S)
    return ending.error(error)


def pause(delay_s: float, is_over: Callable[[], bool]) -> None:
    """Wait before the next attempt of a call; no longer than until there will be none."""
    until = time.monotonic() + delay_s
    while not is_over() and (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, _LOOK_S))


class Connection:
    """A channel and the stubs of the services.

    Parameters
    ----------
    target
        "HOST:PORT".
    credentials
        For TLS; without them the connection is not encrypted.
    token
        Sent with every call; None for none.

    Raises
    ------
    OptionError
        The target is no address, or the token would leave this machine without encryption.

    Attributes
    ----------
    is_closed
        Whether it was closed: all calls are cancelled.
    """

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None, token: str | None) -> None:
        check_target(target)
        self.is_closed = False
        metadata = token_metadata(token, target, is_encrypted=credentials is not None)
        options = channel_options(target)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
        self.stylizations = self._stub(stylization_service_pb2_grpc.StylizationServiceStub, metadata)
        self.styles = self._stub(style_service_pb2_grpc.StyleServiceStub, metadata)
        self.encoders = self._stub(encoder_service_pb2_grpc.EncoderServiceStub, metadata)
        self.server = self._stub(server_service_pb2_grpc.ServerServiceStub, metadata)

    def _stub(self, kind: Callable[[Any], Any], metadata: tuple[tuple[str, str], ...]) -> Stub:
        """Make a stub; they are typed for one kind of channel, and serve both."""
        return Stub(kind(self._channel), metadata, lambda: self.is_closed)

    def call(self, method: Any, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Make a call that has one response; raises as `retried`."""
        return self.retried(lambda left_s: method(request, timeout=left_s), timeout_s)

    def retried(self, attempt: Callable[[float | None], Any], timeout_s: float) -> Any:
        """Make a call, each attempt with the time that is left, until it is answered.

        Raises
        ------
        StylizeError
            The call failed.
        OptionError
            The time is not positive, or longer than a year.
        """
        retries = Retries(timeout_s)
        while True:
            try:
                with own_errors():
                    return attempt(retries.left_s)
            except StylizeError as error:
                delay_s = retries.delay_after(error)
            pause(delay_s, lambda: self.is_closed)

    def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        self.is_closed = True
        self._channel.close()
