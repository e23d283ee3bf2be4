"""Cost of a cached text direction through gRPC on loopback, relative to a health check: medians of one run, in turns.

Examples
--------
    python -m benchmarks.calls                    # half a minute
    python -m benchmarks.calls --json calls.json

Both calls go over one connection to a real server with the bundled encoders: first while it is idle, then while it
stylizes a photo. One unmeasured call computes the direction; all others find it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import grpc
from clipstyler_client import Client, Progress
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one
from benchmarks.serving import START_S, serving
from benchmarks.step import PHOTO, median_seconds
from clipstyler.v1 import encoder_service_pb2, encoder_service_pb2_grpc

MOST_TIMES = 1.5
"""How many times as long as a health check a cached direction may take."""


@dataclass(frozen=True)
class Row:
    """One line of the table: median milliseconds of both calls."""

    while_it: str
    health_ms: float
    direction_ms: float
    ratio: float


def calls_of(channel: grpc.Channel) -> list[Callable[[], object]]:
    """A health check and a text direction."""
    check: Any = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
    find: Any = encoder_service_pb2_grpc.EncoderServiceStub(channel).GetTextDirection
    asked = encoder_service_pb2.GetTextDirectionRequest(style_text="stained glass")
    find(asked, wait_for_ready=True, timeout=START_S)
    return [partial(check, health_pb2.HealthCheckRequest()), partial(find, asked)]


def measure(target: str, repeats: int) -> list[Row]:
    """Measure while the server is idle, and while it stylizes."""
    with grpc.insecure_channel(target) as channel, Client(target) as client:
        wait_for_evaluator(client)
        calls = calls_of(channel)
        rows = [_row("is idle", median_seconds(calls, repeats))]
        with client.stylize(PHOTO, "fire", size=512, steps=500, seed=0) as stream:
            while not isinstance(next(stream), Progress):
                pass
            rows.append(_row("stylizes", median_seconds(calls, repeats)))
            if client.server_info().running != 1:
                raise SystemExit("the stylization ended before the measurement: take fewer repeats")
    return rows


def wait_for_evaluator(client: Client) -> None:
    """Wait until the evaluator is ready."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        evaluator = client.server_info().evaluator
        if evaluator is None or evaluator.state == "idle":
            return
        time.sleep(0.2)
    raise SystemExit("the evaluator did not become ready")


def _row(while_it: str, seconds: list[float]) -> Row:
    health_s, direction_s = seconds
    return Row(while_it, 1000 * health_s, 1000 * direction_s, direction_s / health_s)


def print_table(rows: list[Row]) -> None:
    """Print the rows, with missed targets in red."""
    table = Table(title="A cached text direction beside a health check, through gRPC on loopback")
    for heading in ("while the server", "health check", "direction", "times as long"):
        table.add_column(heading, justify="left" if heading == "while the server" else "right")
    for row in rows:
        ratio = f"{row.ratio:.2f}" if row.ratio <= MOST_TIMES else f"[red]{row.ratio:.2f}[/red]"
        table.add_row(row.while_it, f"{row.health_ms:.3f} ms", f"{row.direction_ms:.3f} ms", ratio)
    figures.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=at_least_one, default=2000, help="of each call; default: 2000")
    figures.add_option(parser)
    arguments = parser.parse_args()
    with serving() as (target, _):
        rows = measure(target, arguments.repeats)
    print_table(rows)
    figures.write(arguments.json, {"rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
