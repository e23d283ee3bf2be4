"""`clipstyler gateway`: Envoy in front of a server, so that browsers and plain HTTP reach it too."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from clipstyler_client import DEFAULT_TARGET

from clipstyler_cli.connection import Target, Tls, TlsCa, TlsCert, TlsKey
from clipstyler_cli.envoy_config import MAX_STREAM_S, GatewayConfig, GatewayConfigError, UpstreamTls, split_address
from clipstyler_cli.envoy_process import check_server, running
from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.live_page import built_page
from clipstyler_cli.terminal import complain, say


def command(
    listen: Annotated[
        str,
        typer.Option(help="HOST:PORT of the gateway; port 0 picks a free one. Loopback: it has no TLS."),
    ] = "127.0.0.1:8080",
    server: Annotated[list[str] | None, typer.Option(help=f"HOST:PORT; repeatable. Default: {DEFAULT_TARGET}.")] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of a page that may call, or *; repeatable. Pages on this machine always may."),
    ] = None,
    trusted_hops: Annotated[
        int, typer.Option(help="Number of proxies in front whose x-forwarded-for is believed.", min=0, max=10)
    ] = 0,
    max_stream: Annotated[int, typer.Option(help="Maximum duration of a stream in seconds.", min=1)] = MAX_STREAM_S,
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
    are passed on. With --tls and the flags beside it the servers are called by TLS.

    Examples
    --------
      clipstyler gateway

      clipstyler gateway --server 10.0.0.5:50051 --listen 0.0.0.0:8080 --allow-origin https://example.org

      clipstyler gateway --server studio.example:50051 --tls-ca ca.pem

      clipstyler gateway --write deploy/envoy

      curl -d '{}' http://127.0.0.1:8080/clipstyler.v1.ServerService/GetServerInfo
    """
    servers = tuple(server or (DEFAULT_TARGET,))
    with clear_errors():
        try:
            host, port = split_address(listen)
            # A configuration that is written may be for another machine.
            origins, found_page = tuple(allow_origin or ()), page or (None if write else built_page())
            upstream = UpstreamTls(tls_ca, tls_cert, tls_key) if tls or tls_ca or tls_cert or tls_key else None
            config = GatewayConfig(host, port, servers, origins, trusted_hops, max_stream, found_page, upstream)
            if write:
                say(str(config.write(write)))
                return
            config.render()  # names bad values before it waits
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
            for address in servers:
                if warning := check_server(Target(address, tls, tls_ca, tls_cert, tls_key), wait):
                    complain(f"warning: {warning}")
            with running(config) as gateway:
                say(f"gateway on {gateway.address}, in front of {', '.join(servers)}")
                sys.stdout.flush()
                gateway.wait()
        except GatewayConfigError as error:
            raise UsageError(str(error)) from error
