"""The simulated figures as one picture, drawn by Vega-Lite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vl_convert

from benchmarks.fleet.cases import FAILING, Figures

_WIDTH, _HEIGHT = 340, 260
_CLASSES = {"sort": ["high", "normal", "low"], "title": "priority"}


def draw(path: Path, cases: list[Figures], loads: dict[str, dict[float, dict[str, float]]]) -> None:
    """Write the picture: waits over the day, waits by load, and where each resource is used up."""
    chart = {
        "hconcat": [_day(cases), _by_load(loads), _limits(cases)],
        "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}},
        "config": {
            "font": "sans-serif",
            "view": {"stroke": "transparent"},
            "legend": {"orient": "bottom", "columns": 1},
        },
    }
    path.write_bytes(vl_convert.vegalite_to_png(chart, scale=2))


def _day(cases: list[Figures]) -> dict[str, Any]:
    values = [
        {"fleet": case.name, "priority": row.kind, "hour": row.hour + 0.5, "wait": max(row.p95_s, 0.01)}
        for case in cases
        for row in case.hours
        if case.name.startswith("CPU") and case.name != FAILING
    ]
    return _panel("p95 of the wait over a day", values) | {
        "mark": "line",
        "encoding": {
            "x": {"field": "hour", "type": "quantitative", "title": "hour of the day", "scale": {"domain": [0, 24]}},
            "y": {"field": "wait", "type": "quantitative", "scale": {"type": "log"}, "title": "seconds (0.01: none)"},
            "color": {"field": "priority", "type": "nominal", **_CLASSES},
            "strokeDash": {"field": "fleet", "type": "nominal"},
        },
    }


def _by_load(loads: dict[str, dict[float, dict[str, float]]]) -> dict[str, Any]:
    values = [
        {"fleet": name, "priority": kind, "load": load, "wait": max(wait_s, 0.01)}
        for name, rows in loads.items()
        for load, waits in rows.items()
        for kind, wait_s in waits.items()
    ]
    return _panel("p95 of the wait by load, at the peak", values) | {
        "mark": "line",
        "encoding": {
            "x": {
                "field": "load",
                "type": "quantitative",
                "title": "work that arrives, of what the devices can do",
                "scale": {"zero": False},
                "axis": {"format": "%"},
            },
            "y": {"field": "wait", "type": "quantitative", "scale": {"type": "log"}, "title": "seconds (0.01: none)"},
            "color": {"field": "priority", "type": "nominal", **_CLASSES},
            "strokeDash": {"field": "fleet", "type": "nominal"},
        },
    }


def _limits(cases: list[Figures]) -> dict[str, Any]:
    values = [
        {"fleet": case.name.partition(",")[0], "resource": row.resource, "jobs": row.jobs_per_day}
        for case in cases
        for row in case.usage
        if not case.one_queue and case.name != FAILING
    ]
    return _panel("Jobs per day at which a resource is used up", values) | {
        "mark": {"type": "point", "filled": True, "size": 120},
        "encoding": {
            "y": {"field": "resource", "type": "nominal", "sort": "x", "title": None, "axis": {"grid": True}},
            "x": {
                "field": "jobs",
                "type": "quantitative",
                "scale": {"type": "log"},
                "title": "jobs per day",
                "axis": {"format": "~s", "labelSeparation": 10},
            },
            "color": {"field": "fleet", "type": "nominal", "scale": {"scheme": "set2"}},
        },
    }


def _panel(title: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "width": _WIDTH, "height": _HEIGHT, "data": {"values": values}}
