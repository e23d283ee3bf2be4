"""Ablation: the method without each of its parts (figure 7 and the preference table of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from clipstyler_lab.experiments.averages import (
    COLUMNS,
    DIRECTION,
    OVER_STYLIZATION,
    PATCH_DIRECTION,
    SSIM,
    TEXTURE,
    average,
    compared,
)
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.published import PREFERENCE
from clipstyler_lab.section import Section, Sheet, Table, Tile
from clipstyler_lab.settings import LabSettings
from clipstyler_lab.trials import Method, Outcome, Trial
from clipstyler_lab.workbench import Workbench

_AT_WORK = 0.02  # share of rejected patches from which on the threshold counts as taking part
FULL = "full"
VARIANTS: dict[str, dict[str, Any]] = {
    FULL: {},
    "without patch loss": {"weight_patch": 0.0},
    "without directional loss": {"weight_direction": 0.0},
    "without augmentation": {"augmentation": False},
    "without threshold": {"threshold_rejection": False},
}


def variant_trials(settings: LabSettings, variant: str) -> list[Trial]:
    """Return the trials of one row: every photo by every text by every seed."""
    return [
        Trial(Method.CLIPSTYLER, photo, text, seed, VARIANTS[variant])
        for photo in settings.photos
        for text in settings.texts
        for seed in settings.seed_numbers
    ]


def trials(settings: LabSettings) -> list[Trial]:
    """Return all trials."""
    return [trial for variant in VARIANTS for trial in variant_trials(settings, variant)]


def section(bench: Workbench, outcomes: Outcomes) -> Section:
    """Show what each part brings."""
    settings = bench.settings
    found = {name: [outcomes.find(trial) for trial in variant_trials(settings, name)] for name in VARIANTS}
    rows = []
    for name, results in found.items():
        made = [outcome for outcome in results if outcome]
        rejected = [outcome.rejected for outcome in made if outcome.rejected is not None]
        share = sum(rejected) / len(rejected) if rejected and "threshold" not in name else None
        rows.append((name, *average(made), share, PREFERENCE[name]))
    columns = ("variant", *COLUMNS, "rejected patches", "published preference, of 5")
    return Section(
        "Ablation",
        "What does each part of the method bring? The same photos, texts and seeds without one part at a time.",
        (
            Table("Means over photos, texts and seeds", columns, tuple(rows)),
            *(_sheet(settings, outcomes, photo) for photo in settings.photos),
        ),
        _findings(found),
        made=sum(outcome is not None for results in found.values() for outcome in results),
        wanted=len(trials(settings)),
    )


def _findings(found: dict[str, list[Outcome | None]]) -> tuple[str, ...]:
    def pairs(name: str) -> list[tuple[Outcome, Outcome]]:
        both = zip(found[name], found[FULL], strict=True)
        return [(one, full) for one, full in both if one and full]

    patch, direction, augmentation, threshold = (pairs(name) for name in VARIANTS if name != FULL)
    rejected = [outcome.rejected or 0.0 for outcome in found[FULL] if outcome]
    return (
        compared("Without the patch loss there is less new texture", TEXTURE, patch, lower=True),
        compared("Without the patch loss, crops match the text less", PATCH_DIRECTION, patch, lower=True),
        compared("Without the directional loss the whole matches the text less", DIRECTION, direction, lower=True),
        compared("Without augmentation, crops match the text less", PATCH_DIRECTION, augmentation, lower=True),
        compared("Without the threshold the result is over-stylized", OVER_STYLIZATION, threshold, lower=False),
        compared("Without the threshold less of the photo remains", SSIM, threshold, lower=True),
        *_threshold_at_work(rejected),
    )


def _threshold_at_work(rejected: Sequence[float]) -> tuple[str, ...]:
    """Say so if the threshold hardly rejects a patch: then nothing can be seen without it."""
    if not rejected or mean(rejected) >= _AT_WORK:
        return ()
    share = f"{mean(rejected):.1%}"
    return (
        f"The full method rejects {share} of the patches: the threshold of these encoders hardly takes part, so the "
        "rows with and without it cannot differ much. The hyper-parameters show larger thresholds.",
    )


def _sheet(settings: LabSettings, outcomes: Outcomes, photo: str) -> Sheet:
    seed = settings.seed_numbers[0]
    rows = []
    for text in settings.texts:
        made = [outcomes.find(Trial(Method.CLIPSTYLER, photo, text, seed, options)) for options in VARIANTS.values()]
        tiles = [Tile(o.picture, f"patch-CLIP {o.quality.patch_clip_score:.3f}") if o else None for o in made]
        rows.append((text, (Tile(settings.photos[photo]), *tiles)))
    return Sheet(f"{photo}, seed {seed}", ("photo", *VARIANTS), tuple(rows))
