"""`clipstyler gateway`: Envoy in front of a server, so that browsers and plain HTTP reach it too."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from clipstyler_client import DEFAULT_TARGET

from clipstyler_cli.connection import LONGEST_WAIT_S, Target, Tls, TlsCa, TlsCert, TlsKey
from clipstyler_cli.ending import end_by
from clipstyler_cli.envoy_config import MAX_STREAM_S, GatewayConfig
from clipstyler_cli.envoy_process import check_server, running
from clipstyler_cli.envoy_tls import UpstreamTls
from clipstyler_cli.errors import checked_together, clear_errors
from clipstyler_cli.listening import (
    AllowOrigin,
    Insecure,
    Listen,
    ListenTlsCert,
    ListenTlsKey,
    listener,
)
from clipstyler_cli.live_page import built_page
from clipstyler_cli.terminal import complain, say


def command(
    listen: Listen = "127.0.0.1:8080",
    listen_tls_cert: ListenTlsCert = None,
    listen_tls_key: ListenTlsKey = None,
    insecure: Insecure = False,
    allow_origin: AllowOrigin = None,
    server: Annotated[list[str] | None, typer.Option(help=f"HOST:PORT; repeatable. Default: {DEFAULT_TARGET}.")] = None,
    trusted_hops: Annotated[
        int, typer.Option(help="Number of proxies in front whose x-forwarded-for is believed.", min=0, max=10)
    ] = 0,
    max_stream: Annotated[
        int, typer.Option(help="Maximum duration of a stream in seconds.", min=1, max=LONGEST_WAIT_S)
    ] = MAX_STREAM_S,
    page: Annotated[Path | None, typer.Option(help="Directory of a static page. Default: the one that was built.")] = (
        None
    ),
    wait: Annotated[float, typer.Option(help="Seconds to wait for the server to answer.", min=0)] = 10.0,
    write: Annotated[
        Path | None, typer.Option(help="Write the configuration of Envoy to this directory, and start nothing.")
    ] = None,
    tls: Tls = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Serve gRPC-Web, Connect, JSON and gRPC on one port, until SIGTERM or Ctrl-C.

    Start a server behind it that asks for no credentials with CLIPSTYLER_TRUSTED_PROXIES=127.0.0.1 (the gateway's
    address, as the server sees it): otherwise it counts all callers as one. Credentials in the header `authorization`
    are passed on. With --tls and the flags beside it the servers are called by TLS; --listen-tls-cert and
    --listen-tls-key encrypt what callers see. A page that is opened by a name needs --allow-origin.

    Examples
    --------
      clipstyler gateway

      clipstyler gateway --listen 0.0.0.0:443 --listen-tls-cert gateway.pem --listen-tls-key gateway.key

      clipstyler gateway --allow-origin https://studio.example

      clipstyler gateway --server studio.example:50051 --tls-ca ca.pem

      clipstyler gateway --write deploy/envoy

      curl -d '{}' http://127.0.0.1:8080/clipstyler.v1.ServerService/GetServerInfo
    """
    servers = tuple(server or (DEFAULT_TARGET,))
    upstream_tls = UpstreamTls(tls_ca, tls_cert, tls_key) if tls or tls_ca or tls_cert or tls_key else None
    is_here = write is None  # a configuration that is written may be for another machine
    asked = GatewayConfig(
        servers=servers,
        origins=tuple(allow_origin or ()),
        trusted_hops=trusted_hops,
        max_stream_s=max_stream,
        page=page or (built_page() if is_here else None),
        upstream_tls=upstream_tls,
    )
    with clear_errors():
        at, *_ = checked_together(
            partial(listener, listen, listen_tls_cert, listen_tls_key, insecure, is_here),
            asked.check,
            *([upstream_tls.check_files] if upstream_tls and is_here else []),
        )
        config = replace(asked, host=at.host, port=at.port, tls=at.tls)
        if write:
            say(str(config.write(write)))
            return
        end_by(signal.default_int_handler)  # as Ctrl-C
        for address in servers:
            if warning := check_server(Target(address, tls, tls_ca, tls_cert, tls_key), wait):
                complain(f"warning: {warning}")
        with running(config) as gateway:
            say(f"gateway on {gateway.address}, in front of {', '.join(servers)}")
            sys.stdout.flush()
            gateway.wait()
