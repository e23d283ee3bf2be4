"""Hyper-parameters: quality against time while one of them varies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any, NamedTuple

from clipstyler.config import CONFIG_OPTIONS
from clipstyler.options import Bounds
from clipstyler_lab.experiments.averages import COLUMNS, PATCH_CLIP, SECONDS, average
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.section import Chart, Point, Section, Sheet, Table, Tile
from clipstyler_lab.trials import Method, Outcome, Trial
from clipstyler_lab.workbench import Workbench


class Varied(NamedTuple):
    """An option, and the values that are tried beside its default: factors of the default, and others."""

    option: str
    factors: Sequence[float] = ()
    others: Sequence[float] = ()


VARIED = (
    Varied("steps", (0.25, 0.5, 2)),
    Varied("patches", (0.25, 2)),
    Varied("crop_size", (0.5, 2)),
    Varied("threshold", others=(0.3, 0.5, 0.7)),
    Varied("learning_rate", (0.5, 2)),
)
_TEXTS = 2


def values(bench: Workbench, varied: Varied) -> list[Any]:
    """Return the values of an option that are tried, within its bounds, the smallest first."""
    photo = next(iter(bench.settings.photos))
    trial = Trial(Method.CLIPSTYLER, photo, bench.settings.texts[0], bench.settings.seed_numbers[0])
    config = bench.spec(trial).config
    fitted = bench.photo(photo, config.size)
    low, high, _ = CONFIG_OPTIONS[varied.option].bounds or Bounds(0, math.inf)
    own: float = config.as_dict()[varied.option]
    if varied.option == "crop_size":
        own, high = config.crop_side(fitted.width, fitted.height), min(fitted.width, fitted.height)
    asked = [own, *(own * factor for factor in varied.factors), *varied.others]
    found = [min(max(value, low), high) for value in asked]
    return sorted({round(value) if isinstance(own, int) else value for value in found})


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
    parts: list[Table | Chart | Sheet] = []
    made = wanted = 0
    for varied in VARIED:
        tried = values(bench, varied)
        asked = {value: option_trials(bench, varied.option, value) for value in tried}
        found = {value: outcomes.all(trials) for value, trials in asked.items()}
        made += sum(map(len, found.values()))
        wanted += sum(map(len, asked.values()))
        name = varied.option.replace("_", " ")
        rows = tuple((f"{value:g}", *average(results)) for value, results in found.items())
        points = tuple(_point(value, results) for value, results in found.items() if results)
        parts += [
            Chart(f"{name}: quality against time", "seconds per picture", "patch-CLIP", points),
            Table(name, (name, *COLUMNS), rows),
            _sheet(bench, outcomes, varied.option, tried),
        ]
    return Section(
        "Hyper-parameters",
        "What does more work bring? One option at a time, the others as in the rest of the report; points are joined "
        "in the order of their values.",
        tuple(parts),
        made=made,
        wanted=wanted,
    )


def _point(value: float, outcomes: Sequence[Outcome]) -> Point:
    x, y = (mean(map(measure.read, outcomes)) for measure in (SECONDS, PATCH_CLIP))
    return Point(x, y, f"{value:g}")


def _sheet(bench: Workbench, outcomes: Outcomes, option: str, tried: Sequence[Any]) -> Sheet:
    found = {value: [outcomes.find(trial) for trial in option_trials(bench, option, value)] for value in tried}
    rows = tuple(
        (text, tuple(Tile(result.picture) if (result := results[i]) else None for results in found.values()))
        for i, text in enumerate(bench.settings.texts[:_TEXTS])
    )
    return Sheet(option.replace("_", " "), tuple(f"{value:g}" for value in tried), rows)
