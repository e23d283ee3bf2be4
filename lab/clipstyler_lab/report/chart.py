"""Charts as small SVG images: one line of labeled points between two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from clipstyler_lab.section import Chart

_WIDTH, _HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 28, 22, 46
_TICKS = 4
_ROOM = 0.08  # around the points, as a share of their range


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Return about `count` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    step = _round_up((high - low) / count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _round_up(step: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = _ROOM * (high - low) or abs(high) * _ROOM or 1.0
    return low - room, high + room


def svg(chart: Chart) -> str:
    """Draw a chart with at least one point; it takes the colors of the page around it."""
    (left, right), (bottom, top) = _bounds([p.x for p in chart.points]), _bounds([p.y for p in chart.points])

    def x(value: float) -> float:
        return _LEFT + (value - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - bottom) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.caption)}">']
    for value in ticks(bottom, top):
        parts.append(_line(_LEFT, y(value), _WIDTH - _RIGHT, y(value), "grid"))
        parts.append(_text(_LEFT - 6, y(value) + 4, f"{value:.6g}", "end"))
    for value in ticks(left, right):
        parts.append(_line(x(value), _TOP, x(value), _HEIGHT - _BOTTOM, "grid"))
        parts.append(_text(x(value), _HEIGHT - _BOTTOM + 16, f"{value:.6g}", "middle"))
    places = [(x(p.x), y(p.y)) for p in chart.points]
    parts.append(f'<polyline class="curve" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}"/>')
    for point, (a, b) in zip(chart.points, places, strict=True):
        parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4"/>')
        parts.append(_text(a + 7, b - 7, point.label, "start", "label"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, chart.x, "middle"))
    parts.append(_text(8, 13, chart.y, "start"))
    return "".join([*parts, "</svg>"])


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
