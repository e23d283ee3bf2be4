"""`clipstyler health`: whether a server takes work, for probes of containers and for people."""

from __future__ import annotations

from typing import Annotated

import grpc
import typer
from clipstyler_client import channel_options
from google.protobuf import wrappers_pb2

from clipstyler_cli.connection import DEFAULT, LONGEST_WAIT_S, Target, with_connection_flags
from clipstyler_cli.errors import clear_errors
from clipstyler_cli.terminal import complain, say

_CHECK = "/grpc.health.v1.Health/Check"
# Of grpc.health.v1.HealthCheckResponse.
_STATUSES = {1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = "SERVING"


@with_connection_flags
def command(
    server: Annotated[Target, typer.Option(help="HOST:PORT of a server or gateway.")] = DEFAULT,
    service: Annotated[str, typer.Option(help="Full name of a service. Default: the server as a whole.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0)] = 3.0,
) -> None:
    """Exit with 0 if a server takes work, else with 1. No token is needed.

    Examples
    --------
      clipstyler health

      clipstyler health --server studio.example:50051 --tls-ca ca.pem

      clipstyler health --service clipstyler.v1.EncoderService
    """
    with clear_errors():
        credentials = server.credentials()
    try:
        status = _status(server.address, credentials, service, timeout)
    except grpc.RpcError as error:
        complain(f"{server.address}: {error.code().name}: {error.details()}")
        raise typer.Exit(1) from error
    say(status)
    if status != _SERVING:
        raise typer.Exit(1)


def _status(address: str, credentials: grpc.ChannelCredentials | None, service: str, timeout_s: float) -> str:
    """Return the status that a server reports.

    The messages of grpc.health.v1 are on the wire what a string and an integer are: a client without the package of
    the health service can send them too.
    """
    options = channel_options(address)
    secure, insecure = grpc.secure_channel, grpc.insecure_channel
    channel = secure(address, credentials, options) if credentials else insecure(address, options)
    with channel:
        check = channel.unary_unary(
            _CHECK,
            request_serializer=wrappers_pb2.StringValue.SerializeToString,
            response_deserializer=wrappers_pb2.Int32Value.FromString,
        )
        answer = check(wrappers_pb2.StringValue(value=service), timeout=min(timeout_s, LONGEST_WAIT_S))
    return _STATUSES.get(answer.value, "UNKNOWN")
