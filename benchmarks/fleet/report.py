"""Write the figures of `benchmarks/results/` into the tables of docs/scaling.md, so that none is typed by hand.

Examples
--------
    python -m benchmarks.fleet.report            # write them
    python -m benchmarks.fleet.report --check    # fail if the page is stale
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.fleet.cases import FAILING
from benchmarks.fleet.costs import read

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
_SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ("---" for _ in headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def works() -> str:
    """What a device does."""
    rows = [
        (
            work["name"],
            work["device"],
            f"{1000 * work['step_s']:,.0f} ms",
            str(work["steps"]),
            f"{work['seconds']:,.1f} s",
            f"{work['jobs_per_hour']:,.1f}",
        )
        for work in read("fleet")["works"]
    ]
    return table(("job", "device", "step", "steps", "job", "jobs per device-hour"), rows)


def costs() -> str:
    """What a job costs a front and the database."""
    found = read("fleet")["costs"]
    per_step = found["progress_bytes"] + found["previews_per_step"] * found["preview_bytes"]
    rows = [
        ("front's processor, per job", f"{1000 * found['job_cpu_s']:.1f} ms"),
        ("front's processor, per step", f"{1000 * found['step_cpu_s']:.2f} ms"),
        ("front's processor, per event sent to a watcher", f"{1000 * found['event_cpu_s']:.2f} ms"),
        ("rows written per job", f"{found['writes_per_job']:.2f}"),
        ("one write on PostgreSQL, alone", f"{1000 * found['write_s']:.2f} ms"),
        ("writes per second of eight fronts together", f"{found['database_writes_per_s']:,.0f}"),
        ("preview", f"{found['preview_bytes']:,.0f} bytes"),
        ("progress", f"{found['progress_bytes']:,.0f} bytes"),
        ("result", f"{found['result_bytes']:,.0f} bytes"),
        ("per watcher and step, with a preview every ten steps", f"{per_step:,.0f} bytes"),
    ]
    return table(("cost", "measured"), rows)


def assumptions() -> str:
    """What no measurement says."""
    units = {
        "cpu_price": "for an hour of two CPU cores",
        "gpu_price": "for an hour of a GPU",
        "front_price": "for an hour of a front",
        "watchers_per_job": "watchers of a running job",
        "link_bytes_per_s": "bytes per second that a front can send",
        "front_streams": "open calls of a front",
    }
    assumed = read("fleet")["assumptions"]
    return table(
        ("flag", "value", "meaning"), [(_flag(name), f"{assumed[name]:,.10g}", unit) for name, unit in units.items()]
    )


def waits() -> str:
    """Queue waits by class."""
    rows = [
        (
            case["name"],
            f"{case['jobs_per_day'] / 1e6:,.1f} million",
            f"{case['mean_used']:.0%}, {case['peak_used']:.0%}",
            row["kind"],
            *(f"{row[name]:,.1f} s" for name in ("p50_s", "p95_s", "p99_s")),
        )
        for case in read("fleet")["cases"]
        for row in case["waits"]
    ]
    return table(("fleet", "jobs per day", "devices busy: mean, peak", "priority", "p50", "p95", "p99"), rows)


def ends() -> str:
    """How the jobs ended, and what an image costs."""
    names = ("arrived", "succeeded", "rejected", "failed", "expired", "resumed")
    rows = [
        (case["name"], *(f"{case[name]:,}" for name in names), f"{case['cost_per_image']:.5f}")
        for case in read("fleet")["cases"]
    ]
    return table(("fleet", *names, "cost per image"), rows)


def limits() -> str:
    """What is used up first."""
    rows = [
        (case["name"], row["resource"], f"{row['used']:.1%}", f"{row['jobs_per_day'] / 1e6:,.2f} million")
        for case in read("fleet")["cases"]
        if not case["one_queue"] and case["name"] != FAILING
        for row in case["usage"]
    ]
    return table(("fleet", "resource", "used at the peak", "used up at jobs per day"), rows)


def positions() -> str:
    """What a queue needs for every change."""
    rows = [
        (f"{row['waiting']:,}", f"{row['accounts']:,}", f"{1000 * row['seconds']:,.1f} ms")
        for row in read("front-costs-cpu")["positions"]
    ]
    return table(("waiting jobs", "accounts", "all positions anew"), rows)


def validation() -> str:
    """The simulation beside real servers."""
    rows = [
        (
            str(run["devices"]) + (", each on a node of Ray" if run["engine"] == "ray" else ""),
            row["figure"],
            f"{row['measured']:.3f}",
            f"{row['simulated']:.3f}",
            f"{row['difference']:.1%}",
        )
        for run in read("fleet-validation-cpu")["runs"]
        for row in run["rows"]
    ]
    return table(("optimizers", "figure", "server", "simulation", "difference"), rows)


SECTIONS: dict[str, Callable[[], str]] = {
    section.__name__: section for section in (works, costs, assumptions, waits, ends, limits, positions, validation)
}


def page(text: str) -> str:
    """Return the page with every table as the results say.

    Raises
    ------
    ValueError
        A table has no place in the page.
    """

    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}{SECTIONS[found[2]]()}{found[3]}"

    if missing := SECTIONS.keys() - {name for _, name, _ in _SECTION.findall(text)}:
        raise ValueError(f"the page lacks the tables {', '.join(sorted(missing))}")
    return _SECTION.sub(fill, text)


def main() -> None:
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is stale")
    arguments = parser.parse_args()
    text = PAGE.read_text()
    written = page(text)
    if not arguments.check:
        PAGE.write_text(written)
    elif written != text:
        raise SystemExit(f"{PAGE} is stale: run `python -m benchmarks.fleet.report`")


def _flag(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"


if __name__ == "__main__":
    main()
