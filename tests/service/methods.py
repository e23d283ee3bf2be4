"""Every method that a server's reflection lists, called with bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2 as pb

_LOST = (grpc.StatusCode.INTERNAL, "Internal error from Core")


class Method(NamedTuple):
    """A method: its path, and whether its requests and responses are streams."""

    path: str
    takes_stream: bool
    gives_stream: bool

    def call(self, channel: grpc.aio.Channel, request: object, **options: object):
        """Call it: `request` is bytes, or an iterator of bytes (also for a method that takes one request)."""
        streams = self.takes_stream or not isinstance(request, bytes)
        kind = f"{'stream' if streams else 'unary'}_{'stream' if self.gives_stream else 'unary'}"
        sent = _kept_open(request) if self.takes_stream and isinstance(request, bytes) else request
        return getattr(channel, kind)(self.path)(sent, **options)

    async def outcome(self, channel: grpc.aio.Channel, request: object, **options: object) -> grpc.aio.Call:
        """Call it and read everything; returns the call when it has ended, in whatever way.

        The status of a call that still sends while it arrives may be lost by the client's gRPC: then it is made again.
        """
        while True:
            call = await self._ended(channel, request, **options)
            if not isinstance(request, bytes) or (await call.code(), await call.details()) != _LOST:
                return call

    async def _ended(self, channel: grpc.aio.Channel, request: object, **options: object) -> grpc.aio.Call:
        call = self.call(channel, request, **options)
        try:
            if self.gives_stream:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError:
            pass
        return call


async def _kept_open(request: bytes) -> AsyncIterator[bytes]:
    """A stream with one request, which does not end: a client that ends it while it is refused may lose the status."""
    yield request
    await asyncio.Event().wait()


async def ask_reflection(channel: grpc.aio.Channel, version: str, **question: object) -> pb.ServerReflectionResponse:
    """Ask one question of a version of reflection, "v1" or "v1alpha"."""
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )
    call = method(iter([pb.ServerReflectionRequest(**question)]))
    return await call.read()


async def listed_methods(channel: grpc.aio.Channel) -> list[Method]:
    """Every method of every service that reflection lists, from the descriptors that it gives."""
    listed = await ask_reflection(channel, "v1", list_services="")
    found = []
    for service in listed.list_services_response.service:
        answer = await ask_reflection(channel, "v1", file_containing_symbol=service.name)
        pool = _pool(answer.file_descriptor_response.file_descriptor_proto)
        for method in pool.FindServiceByName(service.name).methods:
            path = f"/{service.name}/{method.name}"
            found.append(Method(path, method.client_streaming, method.server_streaming))
    return found


def _pool(files: Iterable[bytes]) -> DescriptorPool:
    """A pool of files, each added after those that it imports."""
    missing = {file.name: file for file in map(descriptor_pb2.FileDescriptorProto.FromString, files)}
    pool = DescriptorPool()

    def add(name: str) -> None:
        if file := missing.pop(name, None):
            for dependency in file.dependency:
                add(dependency)
            pool.Add(file)

    for name in list(missing):
        add(name)
    return pool
