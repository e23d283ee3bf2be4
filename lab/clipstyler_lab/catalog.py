"""All experiments by name, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from clipstyler_lab.experiments import ablation, comparison, consistency, curves, zero_shot
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.section import Section
from clipstyler_lab.trials import Trial
from clipstyler_lab.workbench import Workbench


class Experiment(NamedTuple):
    """An experiment: the trials it needs, and what it shows of their outcomes, of those that are there."""

    trials: Callable[[Workbench], list[Trial]]
    section: Callable[[Workbench, Outcomes], Section]


EXPERIMENTS = {
    "ablation": Experiment(lambda bench: ablation.trials(bench.settings), ablation.section),
    "text-guided": Experiment(
        lambda bench: comparison.text_guided_trials(bench.settings), comparison.text_guided_section
    ),
    "style-image": Experiment(
        lambda bench: comparison.style_image_trials(bench.settings), comparison.style_image_section
    ),
    "consistency": Experiment(lambda bench: consistency.trials(bench.settings), consistency.section),
    "zero-shot": Experiment(lambda _: [], zero_shot.section),
    "hyper-parameters": Experiment(curves.trials, curves.section),
}
