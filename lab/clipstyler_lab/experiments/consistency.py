"""Consistency: how different the results of several seeds are, the method's stated limitation."""

from __future__ import annotations

from clipstyler.imaging import Picture, decode
from clipstyler_lab.experiments import one_style
from clipstyler_lab.measures import Spread, difference, spread
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.section import Section, Sheet, Table, Tile, Value
from clipstyler_lab.settings import LabSettings
from clipstyler_lab.trials import Method, Outcome, Trial
from clipstyler_lab.workbench import Workbench

_COLUMNS = ("seeds", "pixels", "embedding", "style statistics", "content features", "patch-CLIP, lowest to highest")
_PHOTO_TO_RESULT = "photo to result"
_BETWEEN_TEXTS = "between texts, one seed"


def text_trials(settings: LabSettings, text: str) -> list[Trial]:
    """Return the first photo by one text with every seed."""
    photo = next(iter(settings.photos))
    return [Trial(Method.CLIPSTYLER, photo, text, seed) for seed in settings.consistency_seed_numbers]


def trials(settings: LabSettings) -> list[Trial]:
    """Return all trials."""
    return [*(trial for text in settings.texts for trial in text_trials(settings, text)), *one_style.trials(settings)]


def seed_spreads(bench: Workbench, outcomes: Outcomes) -> dict[str, Spread]:
    """Return the spread over seeds of each text of which there are two outcomes or more."""
    spreads = {}
    for text in bench.settings.texts:
        made = outcomes.all(text_trials(bench.settings, text))
        if len(made) > 1:
            spreads[text] = spread([bench.seen(_read(outcome)) for outcome in made])
    return spreads


def section(bench: Workbench, outcomes: Outcomes) -> Section:
    """Show the spread over seeds, beside two distances that give it a scale."""
    settings = bench.settings
    found = {text: outcomes.all(text_trials(settings, text)) for text in settings.texts}
    spreads = seed_spreads(bench, outcomes)
    rows: list[tuple[Value, ...]] = []
    for text, measured in spreads.items():
        scores = [outcome.quality.patch_clip_score for outcome in found[text]]
        rows.append((text, len(scores), *measured, f"{min(scores):.3f} to {max(scores):.3f}"))
    scale = _scale(bench, found)
    rows += [(name, None, *measured, None) for name, measured in scale.items()]
    photo = next(iter(settings.photos))
    sheet_rows = tuple(
        (text, tuple(_tile(outcomes.find(trial)) for trial in text_trials(settings, text))) for text in settings.texts
    )
    seeds = tuple(f"seed {seed}" for seed in settings.consistency_seed_numbers)
    styles = one_style.spreads(bench, outcomes)
    wanted = trials(settings)
    return Section(
        "Consistency",
        "How much does a seed change? Distances between results of different seeds, as means over all pairs; 0 is no "
        "difference. The last rows give the scale. And how much less do photos differ that share one fitted style?",
        (
            Table(f"Spread over seeds, {photo}", ("text", *_COLUMNS), tuple(rows)),
            Sheet(f"{photo}, every seed", seeds, sheet_rows),
            *((one_style.table(styles, len(settings.photos)), one_style.sheet(settings, outcomes)) if styles else ()),
        ),
        _findings(spreads, scale) + one_style.finding(styles),
        made=len(outcomes.all(wanted)),
        wanted=len(wanted),
    )


def _scale(bench: Workbench, found: dict[str, list[Outcome]]) -> dict[str, Spread]:
    """Return the distance from the photo to a result, and between results of one seed by different texts."""
    settings = bench.settings
    firsts = [bench.seen(_read(made[0])) for made in found.values() if made]
    if not firsts:
        return {}
    photo = bench.seen(bench.photo(next(iter(settings.photos)), settings.work.size))
    moved = [difference(photo, first) for first in firsts]
    scale = {_PHOTO_TO_RESULT: Spread(*(sum(values) / len(moved) for values in zip(*moved, strict=True)))}
    return scale | ({_BETWEEN_TEXTS: spread(firsts)} if len(firsts) > 1 else {})


def _findings(spreads: dict[str, Spread], scale: dict[str, Spread]) -> tuple[str, ...]:
    if not spreads or _BETWEEN_TEXTS not in scale:
        return ()
    between = scale[_BETWEEN_TEXTS]
    shares = [
        f"{name} {100 * sum(getattr(s, name) for s in spreads.values()) / len(spreads) / getattr(between, name):.0f} %"
        for name in Spread._fields
    ]
    most = max(spreads, key=lambda text: spreads[text].style)
    return (
        f"A change of the seed is this share of a change of the text: {', '.join(shares)}.",
        f"The style of {most!r} varies most.",
    )


def _tile(outcome: Outcome | None) -> Tile | None:
    return Tile(outcome.picture, f"patch-CLIP {outcome.quality.patch_clip_score:.3f}") if outcome else None


def _read(outcome: Outcome) -> Picture:
    return decode(outcome.picture.read_bytes())
