"""`clipstyler serve`: the server; flags override settings from the environment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clipstyler.allocator import restart_with_c_allocator
from clipstyler.home import temporary_home
from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.terminal import complain

_IDENTITY = "Identity"


def command(
    port: Annotated[int | None, typer.Option(help="Port of gRPC; 0 picks a free port. Default: 50051.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address of gRPC. Default: loopback; others need TLS, or --insecure.")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Port of /metrics and the probes; 0 picks a free port. Default: 9464.")
    ] = None,
    http_host: Annotated[str | None, typer.Option(help="Address of these pages. Default: loopback.")] = None,
    tls_cert: Annotated[
        str | None, typer.Option(help="Certificate chain in PEM, for both ports.", rich_help_panel=_IDENTITY)
    ] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its private key.", rich_help_panel=_IDENTITY)] = None,
    tls_client_ca: Annotated[
        str | None,
        typer.Option(help="Authorities of client certificates: callers need one.", rich_help_panel=_IDENTITY),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(help="File of `clipstyler tokens create`: callers need a token.", rich_help_panel=_IDENTITY),
    ] = None,
    tenants: Annotated[
        str | None,
        typer.Option(help="TOML file of tenants' limits and certificates.", rich_help_panel=_IDENTITY),
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Serve other machines without TLS.", rich_help_panel=_IDENTITY),
    ] = None,
    encoder_sets: Annotated[
        str | None, typer.Option(help="Encoder sets to load, separated by commas; the first is the default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")] = None,
    devices: Annotated[
        str | None, typer.Option(help="Several devices, such as cuda:0,cuda:1 or cpu*2, with an optimizer each.")
    ] = None,
    runs_per_device: Annotated[
        int | None, typer.Option(help="Jobs that each optimizer runs at once, in shared steps. Default: 1.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="local, or ray for the devices of a Ray cluster. Default: local.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the head of the Ray cluster. Default: this machine's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of a CPU optimizer. Default: all CPUs, shared by all optimizers.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Directory of jobs and images. Default: the user's data directory.")
    ] = None,
    drain_delay: Annotated[
        float | None,
        typer.Option(help="Seconds after SIGTERM for load balancers to notice, before calls are refused. Default: 0."),
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console. Default: json.")] = None,
    config: Annotated[
        str | None, typer.Option(help="TOML file of settings, below flags and environment (CLIPSTYLER_CONFIG).")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error. Default: info.")] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C: on loopback, to other machines with TLS.

    Every setting is also an environment variable, and a key of the TOML file: --http-port is CLIPSTYLER_HTTP_PORT and
    http_port; docs/operations.md lists them, `clipstyler config show` shows them.

    Examples
    --------
      clipstyler serve

      clipstyler serve --port 50052 --log-format console

      clipstyler serve --devices cuda:0,cuda:1

      clipstyler serve --engine ray --ray-address head:6379 --devices cuda*8

      clipstyler serve --host 0.0.0.0 --tls-cert server.pem --tls-key server.key --tokens tokens

      CLIPSTYLER_QUEUE_CAPACITY=4 clipstyler serve --encoder-sets pocket,vit-b-32
    """
    given: dict[str, Any] = {
        "port": port,
        "host": host,
        "http_port": http_port,
        "http_host": http_host,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "tokens": tokens,
        "tenants": tenants,
        "insecure": insecure,
        "encoder_sets": encoder_sets,
        "device": device,
        "devices": devices,
        "runs_per_device": runs_per_device,
        "engine": engine,
        "ray_address": ray_address,
        "threads": threads,
        "data_dir": data_dir,
        "drain_delay_s": drain_delay,
        "log_format": log_format,
        "log_level": log_level,
    }
    with clear_errors():
        restart_with_c_allocator()
        from clipstyler_server.configuration import ConfigurationError, load
        from clipstyler_server.serving import run

        if home := temporary_home():
            complain(
                f"warning: no home directory: {home} stands in for it; --data-dir and CLIPSTYLER_CACHE_DIR last longer"
            )
        try:
            settings = load(config, **{name: value for name, value in given.items() if value is not None})
        except ConfigurationError as error:
            raise UsageError(str(error)) from error
        run(settings)
