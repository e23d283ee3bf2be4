"""`clipstyler live`: the live page with everything behind it, on this machine."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from clipstyler_cli.ending import end_by
from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.envoy_process import Envoy, running
from clipstyler_cli.errors import UsageError, checked_together, clear_errors
from clipstyler_cli.listening import (
    AllowOrigin,
    Insecure,
    Listen,
    ListenTlsCert,
    ListenTlsKey,
    listener,
)
from clipstyler_cli.live_page import built_page
from clipstyler_cli.server_process import Restarts, running_server
from clipstyler_cli.terminal import Terminal, say

# The gateway, which reports where its callers are.
_SETTINGS = {"TRUSTED_PROXIES": "127.0.0.1"}
# If the page is on loopback, all callers are one.
_ALONE = {"CALLER_SHARE": "1"}
_POLL_S = 0.2


def command(
    listen: Listen = "127.0.0.1:8080",
    listen_tls_cert: ListenTlsCert = None,
    listen_tls_key: ListenTlsKey = None,
    insecure: Insecure = False,
    allow_origin: AllowOrigin = None,
    encoder_sets: Annotated[
        str | None, typer.Option(help="Encoder sets to load, separated by commas; the first is the default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Directory of jobs and images. Default: the user's data directory.")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="File of the server's log. Default: none is kept.")] = None,
) -> None:
    """Start a server, the gateway and the live page, and print the address; until SIGTERM or Ctrl-C.

    Stylize photos in the browser and watch them change. Needs no download and no GPU. A server that dies is started
    again, and the page continues.

    Examples
    --------
      clipstyler live

      clipstyler live --listen 127.0.0.1:8090 --encoder-sets vit-b-32 --device cuda

      clipstyler live --listen 192.168.1.20:8443 --listen-tls-cert live.pem --listen-tls-key live.key
    """
    chosen = {"ENCODER_SETS": encoder_sets, "DEVICE": device, "DATA_DIR": data_dir}
    settings = {name: value for name, value in chosen.items() if value is not None}
    console = Terminal(stderr=True)
    with clear_errors(), TemporaryDirectory(prefix="clipstyler-live-") as directory:
        page = built_page()
        if page is None:
            raise UsageError("the live page was not built: `make web` builds it")
        end_by(lambda *_: sys.exit(0))
        asked = GatewayConfig(origins=tuple(allow_origin or ()), page=page)
        at, _ = checked_together(partial(listener, listen, listen_tls_cert, listen_tls_key, insecure), asked.check)
        kept_log = log or Path(directory, "server.log")
        settings |= _SETTINGS | (_ALONE if at.is_local else {})
        with (
            running_server(kept_log, settings, console) as server,
            running(replace(asked, host=at.host, port=at.port, servers=(server.target,), tls=at.tls)) as gateway,
        ):
            say(f"the live page is on {gateway.address}")
            sys.stdout.flush()
            _keep_running(gateway, Restarts(server, console))


def _keep_running(gateway: Envoy, restarts: Restarts) -> None:
    """Return after Ctrl-C; raises `EnvoyExitedError`, and `ServerUnavailableError` if the server keeps exiting."""
    with suppress(KeyboardInterrupt):
        while True:
            gateway.check()
            restarts.check(time.monotonic())
            time.sleep(_POLL_S)
