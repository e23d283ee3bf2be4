"""Every line on stderr is one of JSON, whoever wrote it."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path

import grpc
import psutil
import pytest

from tests.service.certificates import Authority
from tests.service.harness import eventually


def foreign(server, source: str) -> list[str]:
    lines = [line for line in server.lines if line["event"] == "foreign_output"]
    return [line["line"] for line in lines if line["source"] == source]


def worker(server, name: str) -> psutil.Process:
    """A worker, found by what its process was spawned for."""
    (pid,) = {line["pid"] for line in server.lines if line["event"] == f"{name}_ready"}
    return psutil.Process(pid)


async def test_what_a_crashing_worker_writes_is_logged_with_its_name(launch):
    server = await (await launch()).ready()
    worker(server, "worker").send_signal(signal.SIGSEGV)

    told = await eventually(lambda: foreign(server, "clipstyler-optimizer"))
    assert told[0] == "Fatal Python error: Segmentation fault"
    await eventually(lambda: server.line("worker_lost"))
    assert server.raw_lines == []


@pytest.mark.parametrize("scheme", ["plain", "foreign"])
async def test_failed_handshakes_are_logged_as_json(launch, tmp_path: Path, scheme: str):
    certificate, key = Authority().issue_server().write(tmp_path, "server")
    server = await launch(tls_cert=certificate, tls_key=key)
    ready = await eventually(lambda: server.line("server_ready"))
    if scheme == "plain":
        channel = grpc.aio.insecure_channel(ready["grpc"])
    else:
        channel = grpc.aio.secure_channel(ready["grpc"], grpc.ssl_channel_credentials(Authority().pem))
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/clipstyler.v1.ServerService/GetServerInfo")(b"", timeout=5)
    host, port = ready["http"].split(":")
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(host, int(port), ssl=ssl.create_default_context())

    server.process.send_signal(signal.SIGTERM)
    assert (await server.ended())[0] == 0
    await eventually(lambda: server.line("server_stopped"))
    assert server.raw_lines == []
    if scheme == "plain":
        assert any("Handshake failed" in line for line in foreign(server, "front"))
