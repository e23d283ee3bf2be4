"""Rows of measures, averaged over outcomes, and comparisons of paired outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import NamedTuple

from clipstyler_lab.section import Value
from clipstyler_lab.trials import Outcome


class Measure(NamedTuple):
    """A measure: its name in tables, what is better, and how it is read from an outcome."""

    name: str
    read: Callable[[Outcome], float]


PATCH_CLIP = Measure("patch-CLIP ↑", lambda o: o.quality.patch_clip_score)
DIRECTION = Measure("direction ↑", lambda o: o.quality.global_similarity)
PATCH_DIRECTION = Measure("patch direction ↑", lambda o: o.quality.patch_similarity)
SSIM = Measure("SSIM ↑", lambda o: o.quality.ssim)
CONTENT = Measure("content distance ↓", lambda o: o.quality.content_distance)
TEXTURE = Measure("new texture", lambda o: o.texture)
OVER_STYLIZATION = Measure("over-stylization ↓", lambda o: o.over_stylization)
SECONDS = Measure("seconds", lambda o: o.seconds)
MEASURES = (PATCH_CLIP, DIRECTION, PATCH_DIRECTION, SSIM, CONTENT, TEXTURE, OVER_STYLIZATION, SECONDS)
COLUMNS = tuple(measure.name for measure in MEASURES)


def average(outcomes: Sequence[Outcome]) -> tuple[Value, ...]:
    """Return every measure, averaged over outcomes; None if there are none."""
    return tuple(mean(map(measure.read, outcomes)) if outcomes else None for measure in MEASURES)


def compared(claim: str, measure: Measure, pairs: Sequence[tuple[Outcome, Outcome]], lower: bool) -> str:
    """Report whether the first of each pair has the lower (or higher) value, as claimed.

    Parameters
    ----------
    claim
        What the paper shows, as a sentence without its period.
    measure
        That would show it.
    pairs
        The changed and the full method, on the same photo, text and seed.
    lower
        Whether the claim is that the first is lower.
    """
    if not pairs:
        return f"{claim}: not measured."
    values = [(measure.read(one), measure.read(full)) for one, full in pairs]
    count = sum((one < full) is lower and one != full for one, full in values)
    one, full = (mean(column) for column in zip(*values, strict=True))
    verdict = "holds" if count > 0.75 * len(pairs) else "does not hold" if count < 0.25 * len(pairs) else "is undecided"
    name = measure.name.rstrip(" ↑↓")
    return f"{claim}: {verdict} here ({name} {one:.3f} beside {full:.3f}, as claimed in {count} of {len(pairs)} pairs)."
