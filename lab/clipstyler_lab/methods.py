"""Methods by name: from a trial to its picture."""

from __future__ import annotations

from typing import NamedTuple

from clipstyler.events import Progress, Result
from clipstyler.imaging import Picture
from clipstyler.optimization import Reuse, optimize
from clipstyler.pixels import to_pixels
from clipstyler.style_applying import apply_style
from clipstyler.style_controls import StyleControls
from clipstyler_lab.baselines.global_loss import NO_PATCHES_NO_CONTENT, color_statistics, pixel_optimization
from clipstyler_lab.baselines.style_image import gatys, retrieve, statistics_matching
from clipstyler_lab.generators import completed
from clipstyler_lab.trials import Method, Trial
from clipstyler_lab.workbench import Workbench

STEPS_FACTOR = 2
"""Updates of the methods without a network, relative to the steps of a stylization: theirs are cheaper."""
_STYLE_TRANSFER = {
    Method.GATYS: gatys,
    Method.ADAIN: statistics_matching,
    Method.RETRIEVED_GATYS: gatys,
    Method.RETRIEVED_ADAIN: statistics_matching,
}
WITH_STYLE_IMAGE = frozenset(_STYLE_TRANSFER)
RETRIEVING = frozenset({Method.RETRIEVED_GATYS, Method.RETRIEVED_ADAIN})


class Made(NamedTuple):
    """A picture, the mean share of rejected patches, and what else is worth knowing."""

    picture: Picture
    rejected: float | None = None
    note: str = ""


def make(bench: Workbench, trial: Trial) -> Made:
    """Make the picture of a trial.

    Raises
    ------
    FloatingPointError
        The optimization diverged.
    """
    if trial.method is Method.CLIPSTYLER:
        return _stylized(bench, trial)
    if trial.method is Method.ONE_STYLE:
        return _applied(bench, trial)
    if trial.method is Method.GLOBAL_LOSS:
        options = NO_PATCHES_NO_CONTENT | dict(trial.options)
        return Made(_stylized(bench, Trial(Method.CLIPSTYLER, trial.photo, trial.text, trial.seed, options)).picture)
    if trial.method in WITH_STYLE_IMAGE:
        return _transferred(bench, trial)
    return _optimized(bench, trial)


def style_look(bench: Workbench, trial: Trial) -> str:
    """Return the look whose style image a method with a style image takes."""
    if trial.method in RETRIEVING:
        return bench.gallery.looks[retrieve(bench.guidance(trial.text).style, bench.gallery_embeddings)]
    return bench.gallery.look_of(trial.text) or trial.text


def computation(bench: Workbench, trial: Trial) -> str:
    """Name what computes a picture: retrieving a style image, or being given the same one, is the same computation."""
    if trial.method is Method.ONE_STYLE:
        return f"{trial.method} {bench.photo_digest(bench.first_photo, bench.settings.work.size)}"
    transfer = _STYLE_TRANSFER.get(trial.method)
    return f"{transfer.__name__} {style_look(bench, trial)}" if transfer else trial.method.value


def _stylized(bench: Workbench, trial: Trial) -> Made:
    spec = bench.spec(trial)
    photo = bench.photo(trial.photo, spec.config.size)
    rejected: list[float] = []
    for event in optimize(photo, spec, bench.encoders, reuse=Reuse(photos=bench.photo_cache)):
        if isinstance(event, Progress):
            rejected.append(event.rejected)
        elif isinstance(event, Result):
            picture = event.image
    return Made(picture, sum(rejected) / len(rejected))


def _applied(bench: Workbench, trial: Trial) -> Made:
    photo = bench.photo(trial.photo, bench.settings.work.size)
    drawn = completed(apply_style(bench.style(trial.text, trial.seed), photo, StyleControls()))
    return Made(drawn, note=f"fitted to {bench.first_photo}")


def _optimized(bench: Workbench, trial: Trial) -> Made:
    config = bench.spec(trial).config
    photo = bench.tensor(bench.photo(trial.photo, config.size))
    method = pixel_optimization if trial.method is Method.PIXELS else color_statistics
    image = method(bench.encoders.clip, photo, bench.direction(trial.text), STEPS_FACTOR * config.steps)
    return Made(Picture(to_pixels(image)))


def _transferred(bench: Workbench, trial: Trial) -> Made:
    config, look = bench.spec(trial).config, style_look(bench, trial)
    photo = bench.tensor(bench.photo(trial.photo, config.size))
    transfer = _STYLE_TRANSFER[trial.method]
    image = transfer(
        bench.encoders.content, photo, bench.tensor(bench.gallery.style(look)), STEPS_FACTOR * config.steps
    )
    return Made(Picture(to_pixels(image)), note=f"style image: {look}")
