"""The files of a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipstyler.output_files import write_whole
from clipstyler_lab.report.markdown import markdown
from clipstyler_lab.report.page import page
from clipstyler_lab.report.words import NOT_COMPARABLE, Report, published_table
from clipstyler_lab.section import Chart, Section, Sheet, Table

PAGE, TABLES, RESULTS = "index.html", "tables.md", "results.json"


def write(report: Report, out: Path) -> None:
    """Write a page, Markdown and JSON into a folder, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / TABLES, markdown(report).encode())
    write_whole(out / RESULTS, (json.dumps(values(report), indent=1) + "\n").encode())
    write_whole(out / PAGE, page(report).encode())


def values(report: Report) -> dict[str, Any]:
    """Return a report as plain values; of pictures, their captions."""
    return {
        "made with": report.provenance._asdict(),
        "digests": report.digests,
        "sections": {name: _section(section) for name, section in report.sections.items()},
        "published": {"note": NOT_COMPARABLE, **_table(published_table(report))},
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "question": section.question,
        "outcomes made": section.made,
        "outcomes wanted": section.wanted,
        "findings": section.findings,
        "tables": [_table(part) for part in section.parts if isinstance(part, Table)],
        "charts": [part._asdict() | {"points": part.points} for part in section.parts if isinstance(part, Chart)],
        "sheets": [
            {"caption": part.caption, "columns": part.columns, "rows": [name for name, _ in part.rows]}
            for part in section.parts
            if isinstance(part, Sheet)
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    return {"caption": table.caption, "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows]}
