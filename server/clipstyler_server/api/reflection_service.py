"""Server reflection in both published versions, v1 and v1alpha, which differ in their package only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as V1ALPHA
from grpc_reflection.v1alpha.reflection import aio

V1 = V1ALPHA.replace("v1alpha", "v1")
SERVICE_NAMES = (V1, V1ALPHA)
_POOL = descriptor_pool.Default()


class ReflectionService(reflection_pb2_grpc.ServerReflectionServicer):
    """Describes services; finds methods by their symbols too, which the pool of descriptors does not."""

    def __init__(self, service_names: Iterable[str]) -> None:
        self._service: Any = aio.ReflectionServicer(service_names)

    async def ServerReflectionInfo(self, request_iterator: AsyncIterator[Any], context: object) -> AsyncIterator[Any]:
        """Answer the questions of a stream, one by one."""
        async for request in request_iterator:
            async for response in self._service.ServerReflectionInfo(_stream_of(_findable(request)), context):
                response.original_request.CopyFrom(request)
                yield response


async def _stream_of(request: Any) -> AsyncIterator[Any]:
    yield request


def _findable(request: Any) -> Any:
    """Ask for the service if a method of it is asked for: both are in the same file."""
    service, _, method = request.file_containing_symbol.rpartition(".")
    try:
        has_method = method in _POOL.FindServiceByName(service).methods_by_name
    except KeyError:
        return request
    return reflection_pb2.ServerReflectionRequest(file_containing_symbol=service) if has_method else request


def add_reflection(server: grpc.aio.Server, service_names: Iterable[str]) -> None:
    """Add reflection of services, and of itself."""
    _describe_v1()
    servicer = ReflectionService([*service_names, *SERVICE_NAMES])
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    add(servicer, server)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": method}),))


def _describe_v1() -> None:
    """Make the v1 service known to the pool of descriptors: gRPC's package has v1alpha only."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    file.ClearField("options")
    for message in file.message_type:
        for field in filter(_has_type_name, message.field):
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    _POOL.AddSerializedFile(file.SerializeToString())


def _has_type_name(field: descriptor_pb2.FieldDescriptorProto) -> bool:
    return bool(field.type_name)
