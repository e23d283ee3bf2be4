"""Hyper-parameters: quality against time while one of them varies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any, NamedTuple

from clipstyler.config import CONFIG_OPTIONS
from clipstyler.options import Bounds
from clipstyler_lab.experiments.averages import COLUMNS, average
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.section import Chart, Point, Section, Table
from clipstyler_lab.trials import Method, Trial
from clipstyler_lab.workbench import Workbench


class Varied(NamedTuple):
    """An option, and the factors of its default that are tried."""

    option: str
    factors: Sequence[float]


VARIED = (
    Varied("steps", (0.25, 0.5, 1, 2)),
    Varied("patches", (0.25, 0.5, 1, 2)),
    Varied("crop_size", (0.5, 1, 1.5, 2)),
    Varied("threshold", (0, 1, 5, 10)),
    Varied("learning_rate", (0.5, 1, 2, 4)),
)
_TEXTS = 2


def values(bench: Workbench, varied: Varied) -> list[Any]:
    """Return the values of an option that are tried: multiples of the run's own, within its bounds."""
    photo = next(iter(bench.settings.photos))
    trial = Trial(Method.CLIPSTYLER, photo, bench.settings.texts[0], bench.settings.seed_numbers[0])
    config = bench.spec(trial).config
    fitted = bench.photo(photo, config.size)
    low, high, _ = CONFIG_OPTIONS[varied.option].bounds or Bounds(0, math.inf)
    own: float = config.as_dict()[varied.option]
    if varied.option == "crop_size":
        own, high = config.crop_side(fitted.width, fitted.height), min(fitted.width, fitted.height)
    found = [min(max(own * factor, low), high) for factor in varied.factors]
    return list(dict.fromkeys(round(value) if isinstance(own, int) else value for value in found))


def option_trials(bench: Workbench, option: str, value: Any) -> list[Trial]:
    """Return the trials of one value: the first photo by the first texts, one seed."""
    settings = bench.settings
    photo, seed = next(iter(settings.photos)), settings.seed_numbers[0]
    return [Trial(Method.CLIPSTYLER, photo, text, seed, {option: value}) for text in settings.texts[:_TEXTS]]


def trials(bench: Workbench) -> list[Trial]:
    """Return all trials."""
    return [
        trial
        for varied in VARIED
        for value in values(bench, varied)
        for trial in option_trials(bench, varied.option, value)
    ]


def section(bench: Workbench, outcomes: Outcomes) -> Section:
    """Show a table and a chart for each option."""
    parts: list[Table | Chart] = []
    made = wanted = 0
    for varied in VARIED:
        rows, points = [], []
        for value in values(bench, varied):
            asked = option_trials(bench, varied.option, value)
            found = outcomes.all(asked)
            made, wanted = made + len(found), wanted + len(asked)
            rows.append((f"{value:g}", *average(found)))
            if found:
                x, y = mean(o.seconds for o in found), mean(o.quality.patch_clip_score for o in found)
                points.append(Point(x, y, f"{value:g}"))
        name = varied.option.replace("_", " ")
        parts.append(Chart(f"{name}: quality against time", "seconds per picture", "patch-CLIP", tuple(points)))
        parts.append(Table(name, (name, *COLUMNS), tuple(rows)))
    return Section(
        "Hyper-parameters",
        "What does more work bring? One option at a time, the others as in the rest of the report; points are joined "
        "in the order of their values.",
        tuple(parts),
        made=made,
        wanted=wanted,
    )
