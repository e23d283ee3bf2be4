"""The servers that the cases name: real ones, each a process on a scripted workload, and one of a later version."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import grpc
from clipstyler_cli.envoy_config import MAX_STREAM_S, GatewayConfig
from clipstyler_cli.envoy_process import running
from clipstyler_client import Client

from tests.conformance.later_server import LaterServer

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 90
LATER = "later"
NEVER_READY = "starting"
# Not a server of its own: the main one, behind a proxy that resets every stream after two seconds.
PROXIED, PROXIED_SERVER, PROXIED_STREAM_S = "proxied", "main", 2
# What differs from the common settings, by the name of the server.
SETTINGS: dict[str, dict[str, object]] = {
    "main": {"heartbeat_s": 0.3},
    "full": {"queue_capacity": 0},
    "timed": {},
    "sharing": {"queue_capacity": 2, "caller_share": 0.5, "trusted_proxies": "127.0.0.1"},
    NEVER_READY: {},
    "restarting": {"drain_grace_s": 0.2, "on_restart": "fail"},
    "draining": {"drain_grace_s": 60},
}


class ServerProcess:
    """A server process at one port and with one store over its restarts.

    Parameters
    ----------
    name
        A key of `SETTINGS`.
    folder
        Of its data. Its parent is the directory in which scripts look for their gates.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._gates = name, folder.parent
        port = _free_port()
        self.target = f"127.0.0.1:{port}"
        settings: dict[str, object] = {
            "port": port,
            "http_port": 0,
            "encoder_sets": "scripted",
            "threads": 1,
            "data_dir": folder,
            "queue_capacity": 200,
            "caller_share": 1,
            "restart_delay_s": 0.05,
            "progress_interval_s": 0,  # every step, however fast the machine is: cases count what was skipped
            "evaluator": False,
            "log_level": "error",
        }
        settings |= SETTINGS[name]
        self._environment = os.environ | {f"CLIPSTYLER_{key.upper()}": str(value) for key, value in settings.items()}
        self._environment["PYTHONPATH"] = str(ROOT)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes jobs, or answers if it never will."""
        self._is_draining = False
        workload = "make_never" if self._name == NEVER_READY else "make"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.scripted_process", workload],
            cwd=self._gates,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        if self._name == NEVER_READY:
            with grpc.insecure_channel(self.target) as channel:
                grpc.channel_ready_future(channel).result(START_TIMEOUT_S)
        else:
            with Client(self.target) as client:
                client.wait_until_ready(START_TIMEOUT_S)

    def drain(self) -> None:
        """Ask it to end; returns once it refuses work, or does not answer any more because it had none."""
        self._end()
        try:
            with grpc.insecure_channel(self.target) as channel:
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                while check(b"", timeout=START_TIMEOUT_S) != b"\x08\x02":
                    time.sleep(0.02)
        except grpc.RpcError:
            self._process.wait(START_TIMEOUT_S)

    def restart(self) -> None:
        """End it orderly, unless it drains already, and start it again once it has exited."""
        self._end()
        self._process.wait(START_TIMEOUT_S)
        self.start()

    def kill(self) -> None:
        """Kill it and start it again."""
        self._process.kill()
        self._process.wait(START_TIMEOUT_S)
        self.start()

    def _end(self) -> None:
        if not self._is_draining:  # a second signal would end the grace
            self._is_draining = True
            self._process.send_signal(signal.SIGTERM)

    def cancel(self, job: str) -> None:
        """Cancel a job."""
        with Client(self.target) as client:
            client.jobs.cancel(job)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(START_TIMEOUT_S)


class Servers:
    """Starts servers when they are first asked for.

    Parameters
    ----------
    folder
        Of their data and their gates.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, ServerProcess | LaterServer] = {}
        self._gateways: dict[str, str] = {}
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._exits = ExitStack()

    def address(self, name: str) -> str:
        """Return the address at which clients of gRPC call a server, "HOST:PORT"."""
        return self.gateway(name).removeprefix("http://") if name == PROXIED else self.get(name).target

    def get(self, name: str) -> ServerProcess | LaterServer:
        """Return a running server; `KeyError` if the name is unknown."""
        with self._locks[name]:
            if name not in self._started:
                self._started[name] = LaterServer() if name == LATER else ServerProcess(name, self._folder / name)
            return self._started[name]

    def gateway(self, name: str) -> str:
        """Return the URL of a gateway in front of a server."""
        with self._locks[f"gateway of {name}"]:
            if name not in self._gateways:
                server, longest_s = (PROXIED_SERVER, PROXIED_STREAM_S) if name == PROXIED else (name, MAX_STREAM_S)
                config = GatewayConfig(port=0, servers=(self.get(server).target,), max_stream_s=longest_s)
                self._gateways[name] = self._exits.enter_context(running(config)).address
            return self._gateways[name]

    def open_gate(self, name: str) -> None:
        """Let the scripts that hold at this gate go on."""
        (self._folder / name).touch()

    def stop(self) -> None:
        """End all of them."""
        self._exits.close()
        for server in self._started.values():
            server.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
