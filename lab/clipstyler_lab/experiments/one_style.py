"""One fitted style on every photo, beside a fit of its own for each: how much of the inconsistency is the fitting's."""

from __future__ import annotations

from clipstyler.evaluation.consistency import Spread, spread
from clipstyler.imaging import decode
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.section import Sheet, Table, Tile, Value
from clipstyler_lab.settings import LabSettings
from clipstyler_lab.trials import Method, Trial
from clipstyler_lab.workbench import Workbench

_COLUMNS = ("text", "photos", "change, own fits", "change, one style", "style, own fits", "style, one style")


def fits(settings: LabSettings, text: str) -> list[Trial]:
    """Return a fit of its own for each photo."""
    return [Trial(Method.CLIPSTYLER, photo, text, settings.seed_numbers[0]) for photo in settings.photos]


def applications(settings: LabSettings, text: str) -> list[Trial]:
    """Return the style of the first photo on each photo."""
    return [Trial(Method.ONE_STYLE, photo, text, settings.seed_numbers[0]) for photo in settings.photos]


def trials(settings: LabSettings) -> list[Trial]:
    """Return all trials; none of a single photo."""
    if len(settings.photos) < 2:
        return []
    return [trial for text in settings.texts for trial in (*fits(settings, text), *applications(settings, text))]


def spreads(bench: Workbench, outcomes: Outcomes) -> dict[str, tuple[Spread, Spread]]:
    """Return the spread over photos of own fits and of one style, for each text of which all outcomes are there."""
    settings = bench.settings
    photos = [bench.photo(name, settings.work.size) for name in settings.photos]
    found = {}
    for text in settings.texts if len(photos) > 1 else ():
        kinds = [outcomes.all(made(settings, text)) for made in (fits, applications)]
        if all(len(made) == len(photos) for made in kinds):
            pictures = ((decode(outcome.picture.read_bytes()) for outcome in made) for made in kinds)
            own, one = (spread(zip(drawn, photos, strict=True), bench.encoders) for drawn in pictures)
            found[text] = own, one
    return found


def table(found: dict[str, tuple[Spread, Spread]], photos: int) -> Table:
    """Lay the spreads out."""
    rows: list[tuple[Value, ...]] = [
        (text, photos, own.embeddings, one.embeddings, own.statistics, one.statistics)
        for text, (own, one) in found.items()
    ]
    caption = "Spread over photos: of the direction in which CLIP sees a photo changed, and of style statistics"
    return Table(caption, _COLUMNS, tuple(rows))


def sheet(settings: LabSettings, outcomes: Outcomes) -> Sheet:
    """Show own fits above the one style."""
    rows = []
    for text in settings.texts:
        for name, made in (("own fits", fits), ("one style", applications)):
            found = [outcomes.find(trial) for trial in made(settings, text)]
            tiles = tuple(Tile(outcome.picture) if outcome else None for outcome in found)
            rows.append((f"{text}, {name}", tiles))
    return Sheet("One style on every photo", tuple(settings.photos), tuple(rows))


def finding(found: dict[str, tuple[Spread, Spread]]) -> tuple[str, ...]:
    """Say how the two compare."""
    if not found:
        return ()
    own, one = (sum(pair[index].statistics for pair in found.values()) for index in (0, 1))
    return (f"One fitted style on every photo has {100 * one / own:.0f} % of the style spread of separate fits.",)
