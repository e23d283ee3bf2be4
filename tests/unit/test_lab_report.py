"""The laboratory's report: numbers as words, users' texts as data, charts, and published figures beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from clipstyler_lab.provenance import Provenance
from clipstyler_lab.published import PATCH_CLIP, PREFERENCE
from clipstyler_lab.report.chart import svg, ticks
from clipstyler_lab.report.markdown import markdown
from clipstyler_lab.report.page import page
from clipstyler_lab.report.words import NOT_COMPARABLE, Report, published_table, shown
from clipstyler_lab.report.writing import write
from clipstyler_lab.section import Chart, Point, Section, Sheet, Table, Tile
from PIL import Image

HOSTILE = "<script>alert(1)</script> | *bold* `code`"


def report(tmp_path: Path) -> Report:
    picture = tmp_path / "tile.png"
    Image.new("RGB", (40, 30), "red").save(picture)
    rows = ((HOSTILE, 0.25, None), ("clipstyler", 0.5, 12.0))
    section = Section(
        "Style",
        "Why?",
        (
            Table("Means", ("text", "patch-CLIP ↑", "seconds"), rows),
            Sheet(HOSTILE, ("photo", HOSTILE), ((HOSTILE, (Tile(picture, HOSTILE), None)),)),
            Chart("steps", "seconds", "patch-CLIP", (Point(1, 0.2, HOSTILE), Point(3, 0.4, "40"))),
        ),
        ("It holds.",),
        made=2,
        wanted=3,
    )
    provenance = Provenance(
        "pocket (abc)", "threshold 0.03", "a processor", "1234567", "64 px", "torch 2", "2026-11-26"
    )
    return Report(provenance, ("ab" * 32,), {"style-image": section})


def test_numbers_are_shown_with_the_digits_that_matter() -> None:
    assert [shown(v) for v in (None, "x", 3, 0.25156, 3.14159, 41.234)] == ["–", "x", "3", "0.2516", "3.142", "41.23"]


def test_texts_of_users_are_never_markup(tmp_path: Path) -> None:
    made = report(tmp_path)
    assert "<script>" not in page(made)
    text = markdown(made)
    assert "<script>" not in text.replace("\\<", "")
    (row,) = [line for line in text.splitlines() if "alert" in line]
    assert row.replace("\\|", "").count("|") == 4  # three cells


def test_a_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    made = page(report(tmp_path))
    assert "http" not in made
    assert 'src="data:image/webp;base64,' in made
    assert "2 of 3 outcomes are there." in made
    assert NOT_COMPARABLE in made


def test_ticks_are_round_and_within_the_axis() -> None:
    assert ticks(0.21, 0.29) == pytest.approx([0.22, 0.24, 0.26, 0.28])
    assert ticks(0, 100) == pytest.approx([0, 50, 100])
    assert ticks(-3, 9) == pytest.approx([0, 5])


def test_a_chart_places_points_in_proportion_and_in_order() -> None:
    points = (Point(0, 0, "a"), Point(1, 1, "b"), Point(2, 0, "c"))
    drawn = ElementTree.fromstring(svg(Chart("caption", "x", "y", points)))
    circles = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in drawn.iter("circle")]
    assert circles[1][0] - circles[0][0] == pytest.approx(circles[2][0] - circles[1][0], abs=0.2)
    assert circles[1][1] < circles[0][1] == circles[2][1]  # SVG's y grows downward
    assert [t.text for t in drawn.iter("text") if t.get("class") == "label"] == ["a", "b", "c"]


def test_a_chart_of_one_point_or_of_equal_values_is_drawn() -> None:
    ElementTree.fromstring(svg(Chart("caption", "x", "y", (Point(2, 0.0, "a"),))))
    ElementTree.fromstring(svg(Chart("caption", "x", "y", (Point(2, 5, "a"), Point(2, 5, "b")))))


def test_every_published_figure_stands_beside_ours(tmp_path: Path) -> None:
    table = published_table(report(tmp_path))
    found = {row[0]: row[1:3] for row in table.rows}
    for name, value in PATCH_CLIP.items():
        assert found[f"patch-CLIP score, {name}"][0] == value
    for name, value in PREFERENCE.items():
        assert found[f"user preference of 5, {name}"] == (value, None)
    assert found["patch-CLIP score, CLIPstyler"][1] == 0.5
    assert found["patch-CLIP score, StyleCLIP"][1] is None


def test_three_files_are_written(tmp_path: Path) -> None:
    write(report(tmp_path), tmp_path / "new" / "lab")
    assert sorted(path.name for path in (tmp_path / "new" / "lab").iterdir()) == [
        "index.html",
        "results.json",
        "tables.md",
    ]
    values = json.loads((tmp_path / "new" / "lab" / "results.json").read_text())
    assert values["made with"]["commit"] == "1234567"
    assert values["sections"]["style-image"]["tables"][0]["rows"][1]["patch-CLIP ↑"] == 0.5
    assert values["published"]["note"] == NOT_COMPARABLE
