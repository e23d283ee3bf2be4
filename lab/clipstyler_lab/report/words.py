"""What all forms of a report share: its contents, numbers as words, and the published figures beside ours."""

from __future__ import annotations

from statistics import mean
from typing import NamedTuple

from clipstyler_lab import published
from clipstyler_lab.provenance import Provenance
from clipstyler_lab.section import Section, Table, Value

TITLE = "CLIPstyler: tables and figures"
NOT_COMPARABLE = (
    "Figures of different encoders must not be compared: a score is a cosine in the space of the encoders that "
    f"computed it. The published figures are of {published.ENCODERS} at 512 px, 200 steps and 64 patches."
)
_DASH = "–"


class Report(NamedTuple):
    """A report: what it was made with, the digests of the models, and its sections by the name of their experiment."""

    provenance: Provenance
    digests: tuple[str, ...]
    sections: dict[str, Section]


def shown(value: Value) -> str:
    """Return a cell as it is shown: floats with three significant decimals, integers and texts as they are."""
    if value is None:
        return _DASH
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}"
    return str(value)


def completeness(section: Section) -> str:
    """Return how much of a section is there; nothing if all of it is."""
    return "" if section.made == section.wanted else f"{section.made} of {section.wanted} outcomes are there."


def published_table(report: Report) -> Table:
    """Return each published figure beside ours, where the report has it."""
    comparison = report.sections.get("style-image"), report.sections.get("text-guided")
    ours = {str(row[0]): row[1] for section in comparison if section for row in _rows(section)}
    counterpart = {
        "CLIPstyler": "clipstyler",
        "AdaIN+CLIP": "retrieve + AdaIN statistics",
        "retrieve+SANet": "retrieve + Gatys",
        "StyleGAN-NADA": "StyleNet, global loss only",
        "VQGAN+CLIP": "pixels, global loss only",
    }
    rows: list[tuple[Value, ...]] = [
        (f"patch-CLIP score, {name}", value, ours.get(counterpart.get(name, "")), counterpart.get(name, "not made"))
        for name, value in published.PATCH_CLIP.items()
    ]
    ablation = report.sections.get("ablation")
    scores = {str(row[0]): row[1] for row in _rows(ablation)} if ablation else {}
    rows += [
        (f"user preference of 5, {name}", value, scores.get(name), "patch-CLIP score of the variant; nobody was asked")
        for name, value in published.PREFERENCE.items()
    ]
    rows.append(("time per text", published.SECONDS, _seconds(ablation), "seconds per picture"))
    columns = ("figure", f"published ({published.ENCODERS})", f"ours ({report.provenance.encoders})", "what ours is")
    return Table("Published figures and ours", columns, tuple(rows))


def _rows(section: Section) -> tuple[tuple[Value, ...], ...]:
    return next(part.rows for part in section.parts if isinstance(part, Table))


def _seconds(ablation: Section | None) -> Value:
    if ablation is None:
        return None
    table = next(part for part in ablation.parts if isinstance(part, Table))
    column = table.columns.index("seconds")
    values = [row[column] for row in table.rows if isinstance(row[column], float)]
    return mean(float(value) for value in values if value is not None) if values else None
