"""A run: missing outcomes are made one by one; the report is written from what is there, also if the run is cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from clipstyler.encoders.base import EncoderSet
from clipstyler_lab.catalog import EXPERIMENTS
from clipstyler_lab.outcomes import Outcomes
from clipstyler_lab.provenance import provenance
from clipstyler_lab.report.words import Report
from clipstyler_lab.report.writing import write
from clipstyler_lab.settings import LabSettings
from clipstyler_lab.store import Store
from clipstyler_lab.trials import Trial
from clipstyler_lab.workbench import Workbench

CELLS = "cells"
"""Folder of the outcomes in the folder of a report."""


class Step(NamedTuple):
    """Progress of a run: an outcome is about to be made.

    Attributes
    ----------
    completed, total
        Outcomes made, and to be made.
    doing
        What comes next, for people.
    """

    completed: int
    total: int
    doing: str


def run(
    settings: LabSettings,
    encoders: EncoderSet,
    out: Path,
    names: Sequence[str] = tuple(EXPERIMENTS),
    show: Callable[[Step], None] = lambda _: None,
) -> Report:
    """Make what is missing, and write the report.

    Parameters
    ----------
    settings
        Of the run.
    encoders
        At hand.
    out
        Folder of the report; outcomes that are in it already are not made again.
    names
        Of experiments.
    show
        Receives the progress.

    Returns
    -------
    What was written.

    Raises
    ------
    ConfigError
        The settings do not fit the encoders or the photos; nothing was made.
    FloatingPointError
        An optimization diverged.
    """
    bench = Workbench(settings, encoders)
    outcomes = Outcomes(bench, Store(out / CELLS))
    wanted = {name: EXPERIMENTS[name].trials(bench) for name in names}
    missing = {
        outcomes.key(trial): trial for trials in wanted.values() for trial in trials if outcomes.find(trial) is None
    }
    try:
        for completed, trial in enumerate(missing.values()):
            show(Step(completed, len(missing), describe(trial)))
            outcomes.make(trial)
        show(Step(len(missing), len(missing), "report"))
    finally:
        sections = {name: EXPERIMENTS[name].section(bench, outcomes) for name in names}
        report = Report(provenance(bench), tuple(model.digest for model in encoders.models), sections)
        write(report, out)
    return report


def describe(trial: Trial) -> str:
    """Describe a trial in a line."""
    changed = "".join(f", {name}={value}" for name, value in trial.options.items())
    return f"{trial.method}: {trial.photo} as {trial.text!r}, seed {trial.seed}{changed}"
