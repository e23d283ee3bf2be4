"""`clipstyler serve`: the server; flags override settings from the environment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clipstyler.allocator import restart_with_c_allocator
from clipstyler.home import temporary_home
from clipstyler_cli.errors import UsageError, clear_errors
from clipstyler_cli.terminal import complain


def command(
    port: Annotated[int | None, typer.Option(help="Port of gRPC; 0 picks a free port. Default: 50051.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address of gRPC. Default: loopback, because there is no authentication.")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Port of /metrics, /livez and /readyz; 0 picks a free port. Default: 9464.")
    ] = None,
    encoder_sets: Annotated[
        str | None, typer.Option(help="Encoder sets to load, separated by commas; the first is the default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a CPU optimizer. Default: all CPUs.")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Directory of jobs and images. Default: the user's data directory.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="json or console. Default: json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error. Default: info.")] = None,
) -> None:
    """Serve on loopback until SIGTERM or Ctrl-C.

    Every setting is also an environment variable: --http-port is CLIPSTYLER_HTTP_PORT; docs/operations.md lists them.

    Examples
    --------
      clipstyler serve

      clipstyler serve --port 50052 --log-format console

      CLIPSTYLER_QUEUE_CAPACITY=4 clipstyler serve --encoder-sets pocket,vit-b-32
    """
    given: dict[str, Any] = {
        "port": port,
        "host": host,
        "http_port": http_port,
        "encoder_sets": encoder_sets,
        "device": device,
        "threads": threads,
        "data_dir": data_dir,
        "log_format": log_format,
        "log_level": log_level,
    }
    with clear_errors():
        restart_with_c_allocator()
        from clipstyler_server.app import run
        from clipstyler_server.settings import Settings
        from pydantic import ValidationError  # an extra that the light install lacks

        if home := temporary_home():
            complain(
                f"warning: no home directory: {home} stands in for it; --data-dir and CLIPSTYLER_CACHE_DIR last longer"
            )
        try:
            settings = Settings(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            problems = (f"--{'-'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
            raise UsageError("; ".join(problems).replace("_", "-")) from error
        run(settings)
