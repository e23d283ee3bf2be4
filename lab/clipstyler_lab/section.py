"""What an experiment shows: tables, sheets of pictures, charts and findings. `report/` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

Value = str | float | int | None
"""A cell; numbers are rounded when they are written, and None is a dash."""


class Table(NamedTuple):
    """A table.

    Attributes
    ----------
    caption
        Above it.
    columns
        Headers; the first one names the rows.
    rows
        As long as `columns`.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


class Tile(NamedTuple):
    """A picture with a line below it."""

    picture: Path
    caption: str = ""


class Sheet(NamedTuple):
    """Pictures in rows and columns; None leaves a place empty.

    Attributes
    ----------
    caption
        Above it.
    columns
        Headers of the pictures.
    rows
        The name of a row, and its pictures.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Tile | None, ...]], ...]


class Point(NamedTuple):
    """A measured point and what it stands for."""

    x: float
    y: float
    label: str


class Chart(NamedTuple):
    """A line of points.

    Attributes
    ----------
    caption
        Above it.
    x, y
        What the axes show, with units.
    points
        In the order in which they are joined.
    """

    caption: str
    x: str
    y: str
    points: tuple[Point, ...]


class Section(NamedTuple):
    """One experiment.

    Attributes
    ----------
    title
        Of the section.
    question
        What it asks, in a sentence or two.
    parts
        What it shows, in order.
    findings
        What the numbers say, each a sentence.
    made, wanted
        How many of the outcomes it is based on are there.
    """

    title: str
    question: str
    parts: tuple[Table | Sheet | Chart, ...]
    findings: tuple[str, ...] = ()
    made: int = 0
    wanted: int = 0
