"""A unary call as a value: which method, which request, and how its response is read. Both clients make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clipstyler.v1 import encoder_service_pb2_grpc, stylization_service_pb2_grpc

CALL_TIMEOUT_S = 60.0
_Value = TypeVar("_Value")

STYLIZATION = stylization_service_pb2_grpc.StylizationServiceStub
ENCODER = encoder_service_pb2_grpc.EncoderServiceStub


@dataclass(frozen=True)
class Call(Generic[_Value]):
    """A call: the service's stub, its method, its request, and what reads the response."""

    stub: type[Any]
    method: str
    request: Any
    read: Callable[[Any], _Value]

    def start(self, channel: Any, timeout_s: float) -> Any:
        """Make it on a channel, and give what the channel gives: a response, or an awaitable of one."""
        return getattr(self.stub(channel), self.method)(self.request, timeout=timeout_s)
