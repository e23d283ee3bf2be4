"""Every method that the server's reflection lists, called with raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

CALL_S = 10.0
UNKNOWN_METHOD = "/clipstyler.v1.Unknown/Call"


@dataclass(frozen=True)
class Method:
    """A method of a service.

    Attributes
    ----------
    path
        As in the request.
    request
        Class of its messages.
    takes_stream, gives_stream
        Whether several messages are sent or returned.
    """

    path: str
    request: type[Message]
    takes_stream: bool
    gives_stream: bool

    @classmethod
    def of(cls, described: MethodDescriptor) -> Method:
        """Read a descriptor."""
        plain = descriptor_pb2.MethodDescriptorProto()
        described.CopyToProto(plain)
        path = f"/{described.containing_service.full_name}/{described.name}"
        request = message_factory.GetMessageClass(described.input_type)
        return cls(path, request, plain.client_streaming, plain.server_streaming)

    async def call(
        self,
        channel: grpc.aio.Channel,
        messages: Sequence[bytes],
        timeout_s: float | None = CALL_S,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> bytes | None:
        """Send raw messages and return the first response, None if there is none; a stream is cancelled after it.

        Raises
        ------
        grpc.aio.AioRpcError
            The call failed.
        """
        kind = f"{'stream' if self.takes_stream else 'unary'}_{'stream' if self.gives_stream else 'unary'}"
        sent = _each(messages) if self.takes_stream else b"".join(messages)
        call = getattr(channel, kind)(self.path)(sent, timeout=timeout_s, metadata=tuple(metadata))
        if not self.gives_stream:
            return await call
        response = await call.read()
        if response is grpc.aio.EOF:
            return None
        call.cancel()
        return response


async def _each(messages: Sequence[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def listed(address: str) -> list[Method]:
    """Return every method of every service that reflection lists."""
    return await asyncio.to_thread(_listed, address)


def _listed(address: str) -> list[Method]:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        services = [pool.FindServiceByName(name) for name in database.get_services()]
    return [Method.of(method) for service in services for method in service.methods]
