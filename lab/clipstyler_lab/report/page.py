"""A report as one self-contained page: styles, charts and pictures are inside, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

from clipstyler.image_format import ImageFormat
from clipstyler.imaging import decode, encode, shrink
from clipstyler_lab.report.chart import svg
from clipstyler_lab.report.words import NOT_COMPARABLE, TITLE, Report, completeness, published_table, shown
from clipstyler_lab.section import Chart, Section, Sheet, Table, Tile

_TILE = 256  # longest side in pixels of a picture in the page
_QUALITY = 82
_STYLE = Path(__file__).with_name("page.css")


def page(report: Report) -> str:
    """Write the page."""
    return "".join(_parts(report))


def _parts(report: Report) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{TITLE}</title><style>{_STYLE.read_text()}</style></head><body><main><h1>{TITLE}</h1><dl>"
    for name, value in report.provenance._asdict().items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    yield "</dl><nav>"
    for name, section in report.sections.items():
        yield f'<a href="#{escape(name)}">{escape(section.title)}</a>'
    yield '<a href="#published">Published figures</a></nav>'
    for name, section in report.sections.items():
        yield from _section(name, section)
    yield f'<section id="published"><h2>Published figures</h2><p class="warning">{escape(NOT_COMPARABLE)}</p>'
    yield from _table(published_table(report))
    yield "</section></main></body></html>\n"


def _section(name: str, section: Section) -> Iterator[str]:
    yield f'<section id="{escape(name)}"><h2>{escape(section.title)}</h2><p>{escape(section.question)}</p>'
    if missing := completeness(section):
        yield f'<p class="warning">{escape(missing)}</p>'
    if section.findings:
        yield "<ul>" + "".join(f"<li>{escape(finding)}</li>" for finding in section.findings) + "</ul>"
    for part in section.parts:
        match part:
            case Table():
                yield from _table(part)
            case Sheet():
                yield from _sheet(part)
            case Chart():
                yield f"<figure class='chart'><figcaption>{escape(part.caption)}</figcaption>"
                yield svg(part) if part.points else "<p>nothing measured yet</p>"
                yield "</figure>"
    yield "</section>"


def _table(table: Table) -> Iterator[str]:
    yield f'<h3>{escape(table.caption)}</h3><div class="wide" tabindex="0"><table><thead><tr>'
    yield "".join(f"<th>{_header(column)}</th>" for column in table.columns) + "</tr></thead><tbody>"
    for first, *rest in table.rows:
        cells = "".join(f"<td{_kind(value)}>{escape(shown(value))}</td>" for value in rest)
        yield f'<tr><th scope="row">{escape(shown(first))}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _header(column: str) -> str:
    """Keep the arrow that says what is better beside its word."""
    return escape(column).replace(" ↑", "&nbsp;↑").replace(" ↓", "&nbsp;↓")


def _kind(value: object) -> str:
    return ' class="text"' if isinstance(value, str) else ""


def _sheet(sheet: Sheet) -> Iterator[str]:
    yield f'<h3>{escape(sheet.caption)}</h3><div class="wide" tabindex="0"><table class="sheet"><thead><tr><th></th>'
    yield "".join(f"<th>{escape(column)}</th>" for column in sheet.columns) + "</tr></thead><tbody>"
    for name, tiles in sheet.rows:
        yield f'<tr><th scope="row">{escape(name)}</th>'
        for column, tile in zip(sheet.columns, tiles, strict=True):
            yield f"<td>{_picture(tile, f'{name}, {column}') if tile else ''}</td>"
        yield "</tr>"
    yield "</tbody></table></div>"


def _picture(tile: Tile, description: str) -> str:
    caption = f"<small>{escape(tile.caption)}</small>" if tile.caption else ""
    return f'<img src="{_data_url(tile.picture)}" alt="{escape(description)}" loading="lazy">{caption}'


@cache
def _data_url(path: Path) -> str:
    data = encode(shrink(decode(path.read_bytes()), _TILE), ImageFormat.WEBP, _QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
