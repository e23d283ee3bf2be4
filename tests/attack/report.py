"""The table of all attacks."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.attack.measure import Figures

MIB = 2**20
_WIDTH = 220
_EXAMPLES = 5


def show(rows: Sequence[Figures], write_line: Callable[[str], None]) -> None:
    """Write the table, what it cannot hold, and what counts as an excuse."""
    console = Console(file=io.StringIO(), width=_WIDTH)
    console.print(_table(rows))
    for row in rows:
        for kind, found in (
            ("unmapped", row.tally.unmapped),
            ("unanswered", row.tally.unanswered),
            ("excused", row.tally.excused),
            ("traceback", row.tracebacks),
        ):
            for what, count in Counter(found).most_common(_EXAMPLES):
                console.print(Text(f"{row.name}: {kind}: {count} x {what}"))
        console.print(Text(f"{row.name}: answers: {_listed(row.tally.answers)}"))
        if row.tally.notes:
            console.print(Text(f"{row.name}: noted: {_listed(row.tally.notes)}"))
    for line in console.file.getvalue().splitlines():
        write_line(line)


def _table(rows: Sequence[Figures]) -> Table:
    table = Table(title="Attacks", title_justify="left")
    for heading in _COLUMNS:
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for row in rows:
        table.add_row(*(Text(cells(row)) for cells in _COLUMNS.values()))
    return table


def _delays(*names: str) -> Callable[[Figures], str]:
    """Show the longest delays of the bystander, and how many of its calls failed."""

    def cell(row: Figures) -> str:
        found = [row.watched.get("bystander", {}).get(name, {}) for name in names]
        failures = sum(sum(delays.get("failures", {}).values()) for delays in found)
        longest = " / ".join(_seconds(delays.get("longest_s")) for delays in found)
        return longest + (f" ({failures} failed)" if failures else "")

    return cell


def _peaks(*names: str) -> Callable[[Figures], str]:
    def cell(row: Figures) -> str:
        peaks = row.watched.get("processes", {}).get("peak_bytes", {})
        return " / ".join(_mib(peaks.get(name)) for name in names)

    return cell


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mib(value: int | None) -> str:
    return "-" if value is None else f"{value / MIB:.0f}"


def _listed(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


_COLUMNS: dict[str, Callable[[Figures], str]] = {
    "attack": lambda row: row.name,
    "s": lambda row: f"{row.seconds:.0f}",
    "inputs": lambda row: str(row.tally.inputs),
    "un-\nmapped": lambda row: str(sum(row.tally.unmapped.values())),
    "un-\nanswered": lambda row: str(sum(row.tally.unanswered.values())),
    "trace-\nbacks": lambda row: str(sum(row.tracebacks.values())),
    "restarts": lambda row: _listed(row.restarts) or "0",
    "pause of\nthe loop s": lambda row: f"{_seconds(row.longest_pause_s)} {row.pause_from}",
    "own pauses s:\nattacker / watcher": lambda row: f"{_seconds(row.attacker_pause_s)} / {_delays('own_pause')(row)}",
    "livez / readyz /\nhealth s": _delays("livez", "readyz", "health"),
    "job started /\ndone s": _delays("job_started", "job_finished"),
    "peak MiB: front / decoder /\nevaluator / optimizer": _peaks("front", "decoder", "evaluator", "optimizer"),
    "front MiB\nbefore / after": lambda row: " / ".join(map(_mib, row.front_bytes)),
    "descriptors\nbefore / after": lambda row: " / ".join(map(str, row.descriptors)),
    "disk MiB\nbefore / after": lambda row: " / ".join(map(_mib, row.disk_bytes)),
    "works\nafter s": lambda row: _seconds(row.works_after_s),
}
