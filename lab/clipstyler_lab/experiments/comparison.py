"""Comparisons of methods: text-guided ones (figure 6 of the paper), and those with a style image (figure 5)."""

from __future__ import annotations

from collections.abc import Sequence

from clipstyler_lab.experiments.averages import (
    COLUMNS,
    CONTENT,
    DIRECTION,
    PATCH_CLIP,
    PATCH_DIRECTION,
    TEXTURE,
    average,
    compared,
)
from clipstyler_lab.gallery import Gallery
from clipstyler_lab.methods import RETRIEVING, WITH_STYLE_IMAGE
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.section import Section, Sheet, Table, Tile
from clipstyler_lab.settings import LabSettings
from clipstyler_lab.trials import Method, Outcome, Trial
from clipstyler_lab.workbench import Workbench

TEXT_GUIDED = (Method.CLIPSTYLER, Method.GLOBAL_LOSS, Method.PIXELS, Method.COLORS)
STYLE_IMAGE = (Method.CLIPSTYLER, Method.GATYS, Method.ADAIN, Method.RETRIEVED_GATYS, Method.RETRIEVED_ADAIN)


def method_trials(settings: LabSettings, method: Method) -> list[Trial]:
    """Return every photo by every text with the first seed; without texts for which there is no style image."""
    gallery = Gallery(settings.styles)
    needs_look = method in WITH_STYLE_IMAGE - RETRIEVING
    texts = [text for text in settings.texts if not needs_look or gallery.look_of(text)]
    return [Trial(method, photo, text, settings.seed_numbers[0]) for photo in settings.photos for text in texts]


def text_guided_trials(settings: LabSettings) -> list[Trial]:
    """Return the trials of figure 6."""
    return [trial for method in TEXT_GUIDED for trial in method_trials(settings, method)]


def style_image_trials(settings: LabSettings) -> list[Trial]:
    """Return the trials of figure 5."""
    return [trial for method in STYLE_IMAGE for trial in method_trials(settings, method)]


def text_guided_section(bench: Workbench, outcomes: Outcomes) -> Section:
    """Show the method beside others that see the text only."""
    settings = bench.settings
    pixels = _pairs(settings, outcomes, Method.PIXELS)
    findings = (
        compared(
            "StyleNet under the global loss alone adds less texture",
            TEXTURE,
            _pairs(settings, outcomes, Method.GLOBAL_LOSS),
            lower=True,
        ),
        compared("Pixels under the global loss satisfy that loss better", DIRECTION, pixels, lower=False),
        compared("and their crops match the text less", PATCH_DIRECTION, pixels, lower=True),
        compared(
            "Colors alone match the text less in crops",
            PATCH_DIRECTION,
            _pairs(settings, outcomes, Method.COLORS),
            lower=True,
        ),
    )
    return _section(
        bench,
        outcomes,
        TEXT_GUIDED,
        "Other text-guided methods",
        "Is it the text, the network or the patches? Pixels, colors and StyleNet under the global directional loss "
        "alone (StyleGAN-NADA's loss), beside the full method.",
        findings,
    )


def style_image_section(bench: Workbench, outcomes: Outcomes) -> Section:
    """Show the method, which has no style image, beside those that have one."""
    settings = bench.settings
    retrieved = _pairs(settings, outcomes, Method.RETRIEVED_GATYS)
    section = _section(
        bench,
        outcomes,
        STYLE_IMAGE,
        "Style transfer with a style image",
        "What does a style image give that a text does not? Style images are drawn by this project, one per look; the "
        "last two methods choose theirs by the text.",
        (
            compared("Retrieval and Gatys match the text less", PATCH_CLIP, retrieved, lower=True),
            compared("and move the content further", CONTENT, retrieved, lower=False),
        ),
    )
    return section._replace(parts=(*section.parts, _retrieved(bench)))


def _section(
    bench: Workbench,
    outcomes: Outcomes,
    methods: Sequence[Method],
    title: str,
    question: str,
    findings: tuple[str, ...],
) -> Section:
    settings = bench.settings
    wanted = {method: method_trials(settings, method) for method in methods}
    found = {method: outcomes.all(trials) for method, trials in wanted.items()}
    rows = tuple((str(method), *average(made)) for method, made in found.items())
    return Section(
        title,
        question,
        (
            Table(f"Means over photos and texts, seed {settings.seed_numbers[0]}", ("method", *COLUMNS), rows),
            *(_sheet(settings, outcomes, methods, photo) for photo in settings.photos),
        ),
        findings,
        made=sum(map(len, found.values())),
        wanted=sum(map(len, wanted.values())),
    )


def _pairs(settings: LabSettings, outcomes: Outcomes, method: Method) -> list[tuple[Outcome, Outcome]]:
    """Return the outcomes of a method with those of the full one on the same photo and text."""
    found = []
    for trial in method_trials(settings, method):
        other = outcomes.find(trial)
        full = outcomes.find(Trial(Method.CLIPSTYLER, trial.photo, trial.text, trial.seed))
        if other and full:
            found.append((other, full))
    return found


def _sheet(settings: LabSettings, outcomes: Outcomes, methods: Sequence[Method], photo: str) -> Sheet:
    shown = [trial for method in methods for trial in method_trials(settings, method) if trial.photo == photo]
    found = {(trial.method, trial.text): outcomes.find(trial) for trial in shown}
    rows = []
    for text in settings.texts:
        made = [found.get((method, text)) for method in methods]
        captions = [f"patch-CLIP {o.quality.patch_clip_score:.3f}" if o else "" for o in made]
        notes = [f"; {o.note}" if o and o.note else "" for o in made]
        tiles = [
            Tile(o.picture, caption + note) if o else None
            for o, caption, note in zip(made, captions, notes, strict=True)
        ]
        rows.append((text, (Tile(settings.photos[photo]), *tiles)))
    return Sheet(photo, ("photo", *map(str, methods)), tuple(rows))


def _retrieved(bench: Workbench) -> Table:
    """Show what retrieval finds for each text, and how near."""
    rows = []
    for text in bench.settings.texts:
        similarities = bench.gallery_embeddings @ bench.guidance(text).style
        best = similarities.argsort()[::-1][:3]
        nearest = ", ".join(f"{bench.gallery.looks[i]} {similarities[i]:.2f}" for i in best)
        rows.append((text, nearest))
    return Table("Style images by their cosine with the text", ("text", "nearest style images"), tuple(rows))
