"""A report as Markdown: tables and findings; pictures are in the page."""

from __future__ import annotations

from collections.abc import Iterator

from clipstyler_lab.report.words import NOT_COMPARABLE, TITLE, Report, completeness, published_table, shown
from clipstyler_lab.section import Table


def markdown(report: Report) -> str:
    """Write all tables and findings."""
    return "\n".join(_lines(report)) + "\n"


def table_lines(table: Table) -> list[str]:
    """Write a table, without its caption."""
    return [
        _row(table.columns),
        _row(("---",) * len(table.columns)),
        *(_row(tuple(map(shown, row))) for row in table.rows),
    ]


def _lines(report: Report) -> Iterator[str]:
    yield f"# {TITLE}"
    yield ""
    for name, value in report.provenance._asdict().items():
        yield f"* {name}: {_escaped(value)}"
    for section in report.sections.values():
        yield from ("", f"## {section.title}", "", _escaped(section.question))
        if missing := completeness(section):
            yield from ("", f"**{missing}**")
        for part in section.parts:
            if isinstance(part, Table):
                yield from ("", _escaped(part.caption) + ":", "", *table_lines(part))
        if section.findings:
            yield ""
            yield from (f"* {_escaped(finding)}" for finding in section.findings)
    yield from ("", "## Published figures", "", NOT_COMPARABLE, "", *table_lines(published_table(report)))


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    """Escape what Markdown would read as markup in users' texts."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character) if character in text else text
    return text
