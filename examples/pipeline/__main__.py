"""The command line of the pipeline."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from clipstyler_client import AsyncClient
from outbox import FAILED_STATUS, SUCCEEDED_STATUS, Outbox, OutboxInUseError
from pipeline import Pipeline
from stylizing import Task, TaskError

EXAMPLES = """\
examples:
  clipstyler serve &
  python examples/pipeline inbox out "stained glass"
  python examples/pipeline inbox out fire --seed 7 --size 512 --parallel 4 --server 127.0.0.1:50051
  python examples/pipeline inbox out "a sketch with black pencil" --once && cat out/manifest.jsonl
"""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python examples/pipeline",
        description="Stylize every photo that arrives in a directory, once, and write results and a manifest.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inbox", type=Path, help="directory in which photos arrive")
    parser.add_argument("outbox", type=Path, help="directory of manifest.jsonl, results/, done/ and failed/")
    parser.add_argument("text", help="what the results should look like")
    parser.add_argument("--server", default="127.0.0.1:50051", help="HOST:PORT (default: %(default)s)")
    parser.add_argument("--preset", choices=("draft", "paper"), help="default: the server's")
    parser.add_argument("--size", type=int, help="longest side in pixels; default: the server's")
    parser.add_argument("--steps", type=int, help="default: the preset's")
    parser.add_argument("--seed", type=int, help="default: each photo gets its own")
    parser.add_argument("--format", choices=("png", "jpeg", "webp"), default="png", help="default: %(default)s")
    parser.add_argument("--parallel", type=count, default=2, help="photos at a time (default: %(default)s)")
    parser.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        help="seconds between looks, and without a write after which a photo is complete (default: %(default)s)",
    )
    parser.add_argument(
        "--once", action="store_true", help="end when the inbox is empty; exit code 1 if a photo failed"
    )
    given = parser.parse_args()
    if not given.inbox.is_dir():
        parser.error(f"{given.inbox} is not a directory")
    if given.inbox.resolve() == given.outbox.resolve():
        parser.error("inbox and outbox are the same directory")
    return given


def count(text: str) -> int:
    """Read a whole number above 0."""
    return int(above_zero(text, int(text)))


def seconds(text: str) -> float:
    """Read a number above 0."""
    return above_zero(text, float(text))


def above_zero(text: str, number: float) -> float:
    """Return a number that is above 0."""
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


async def run(given: argparse.Namespace) -> int:
    """Run the pipeline; returns the exit code."""
    options = {name: getattr(given, name) for name in ("preset", "size", "steps", "seed")}
    task = Task(given.text, {name: value for name, value in options.items() if value is not None}, given.format)
    outbox = Outbox(given.outbox)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    async with AsyncClient(given.server) as client:
        pipeline = Pipeline(client, given.inbox, outbox, task, given.parallel, given.interval)
        await pipeline.run(once=given.once)
    print(f"{pipeline.counts[SUCCEEDED_STATUS]} succeeded, {pipeline.counts[FAILED_STATUS]} failed", file=sys.stderr)
    return 1 if pipeline.counts[FAILED_STATUS] else 0


def main() -> int:
    """Run the command; returns the exit code: 0, 1 (a photo failed), 2 (nothing works like this) or 130."""
    given = arguments()
    try:
        return asyncio.run(run(given))
    except (TaskError, OutboxInUseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("the jobs on the server go on; start again to fetch their results", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
