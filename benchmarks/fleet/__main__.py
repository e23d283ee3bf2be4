"""Simulate fleets for a day: waits by class, cost per image, and which resource is used up first.

Examples
--------
    python -m benchmarks.fleet                                         # some minutes
    python -m benchmarks.fleet --jobs-per-day 100000 --devices 200     # a quick look
    python -m benchmarks.fleet --json benchmarks/results/fleet.json --plot benchmarks/results/fleet.png

Seconds of steps, cost of fronts and writes of the database are measurements (`benchmarks/results/`); prices and
failures are assumptions, which `benchmarks/fleet/costs.py` and `cases.py` list. The queue is the
server's own. The same seed gives the same figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, fields

from rich.progress import track
from rich.table import Table

from benchmarks import figures
from benchmarks.arguments import at_least_one, picture_file
from benchmarks.fleet.cases import FAILING, Figures, p95_at_loads, run, standard_cases
from benchmarks.fleet.costs import Assumptions, Work, front_costs, works
from benchmarks.fleet.plot import draw

LOADS = [0.8, 0.9, 1.0, 1.1]


def tables(found: list[Work], cases: list[Figures]) -> Iterator[Table]:
    """Yield everything for people."""
    table = Table("job", "device", "step", "job takes", "jobs per device-hour", title="What a device does")
    for work in found:
        table.add_row(
            work.name, work.device, f"{1000 * work.step_s:.0f} ms", f"{work.seconds:.1f} s", f"{work.jobs_per_hour:.1f}"
        )
    yield table
    table = Table("fleet", "jobs per day", "devices", "used", "peak", "priority", "p50", "p95", "p99", title="Waits")
    for case in cases:
        for row in case.waits:
            table.add_row(
                case.name,
                f"{case.jobs_per_day:,.0f}",
                f"{case.devices:,}",
                f"{case.mean_used:.0%}",
                f"{case.peak_used:.0%}",
                row.kind,
                *(f"{seconds:.1f} s" for seconds in (row.p50_s, row.p95_s, row.p99_s)),
            )
    yield table
    ends = ("arrived", "succeeded", "rejected", "failed", "expired", "resumed")
    table = Table("fleet", *ends, "cost per image", title="Ends")
    for case in cases:
        counts = (f"{getattr(case, name):,}" for name in ends)
        table.add_row(case.name, *counts, f"{case.cost_per_image:.5f}")
    yield table
    table = Table("fleet", "resource", "used at the peak", "used up at jobs per day", title="What is used up first")
    for case in cases:
        for limit in case.usage:
            table.add_row(case.name, limit.resource, f"{limit.used:.1%}", f"{limit.jobs_per_day:,.0f}")
    yield table


def assumptions(arguments: argparse.Namespace) -> Assumptions:
    """Return the assumptions with what the flags change."""
    return Assumptions(**{field.name: getattr(arguments, field.name) for field in fields(Assumptions)})


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs-per-day", type=float, default=1e6, help="of the CPU fleets; default: a million")
    parser.add_argument("--devices", type=at_least_one, default=2000, help="of each fleet; default: 2000")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--plot", type=picture_file, help="also draw the figures into this PNG")
    for field in fields(Assumptions):
        default = getattr(Assumptions(), field.name)
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"assumed; default: {default:g}")
    figures.add_option(parser)
    arguments = parser.parse_args()
    assumed, costs = assumptions(arguments), front_costs()
    found = works()
    cases = list(standard_cases(found, assumed, arguments.jobs_per_day, arguments.devices))
    done = [run(case, costs, assumed, arguments.seed) for case in track(cases, "Simulating days")]
    on_cpu = [case for case in cases if case.name.startswith("CPU") and case.name != FAILING]
    loads = {case.name: p95_at_loads(case, LOADS, arguments.seed) for case in track(on_cpu, "Varying the load")}
    for table in tables(found, done):
        figures.show(table)
    if arguments.plot:
        draw(arguments.plot, done, loads)
    written = {
        "seed": arguments.seed,
        "assumptions": asdict(assumed),
        "costs": asdict(costs),
        "works": [asdict(work) | {"seconds": work.seconds, "jobs_per_hour": work.jobs_per_hour} for work in found],
        "cases": [asdict(case) for case in done],
        "p95_at_loads": loads,
    }
    figures.write(arguments.json, written)


if __name__ == "__main__":
    main()
