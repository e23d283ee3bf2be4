"""Outcomes by trial: found in the store, or made, measured and stored."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from clipstyler.evaluation.metrics import embedded_views, report_of
from clipstyler_lab.measures import new_texture, over_stylization
from clipstyler_lab.methods import WITH_STYLE_IMAGE, computation, make, style_look
from clipstyler_lab.store import Store
from clipstyler_lab.trials import Outcome, Trial
from clipstyler_lab.workbench import Workbench

_CROPS_SEED = 0


class Outcomes:
    """Outcomes of one workbench."""

    def __init__(self, bench: Workbench, store: Store) -> None:
        self._bench = bench
        self._store = store

    def find(self, trial: Trial) -> Outcome | None:
        """Return the outcome of a trial if it is stored."""
        return self._store.find(self.key(trial))

    def all(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Return the stored outcomes of trials; those that are missing are left out."""
        return [outcome for trial in trials if (outcome := self.find(trial))]

    def make(self, trial: Trial) -> Outcome:
        """Make, measure and store the outcome of a trial.

        Raises
        ------
        FloatingPointError
            The optimization diverged.
        """
        bench, key = self._bench, self.key(trial)
        begun = time.monotonic()
        made = make(bench, trial)
        seconds = time.monotonic() - begun
        guidance = bench.guidance(trial.text)
        photo = bench.photo(trial.photo, bench.spec(trial).config.size)
        views = embedded_views(photo, made.picture, bench.measuring, _CROPS_SEED)
        outcome = Outcome(
            picture=self._store.save_picture(key, made.picture),
            seconds=seconds,
            quality=report_of(views, guidance, bench.measuring, _CROPS_SEED),
            texture=new_texture(views.before, views.after),
            over_stylization=over_stylization(views, guidance.direction),
            rejected=made.rejected,
            note=made.note,
        )
        self._store.save(key, outcome)
        return outcome

    def key(self, trial: Trial) -> str:
        """Return the name of a trial's outcome in the store.

        Raises
        ------
        ConfigError
            Options that cannot be used.
        """
        bench, spec = self._bench, self._bench.spec(trial)
        photo = bench.photo(trial.photo, spec.config.size)
        ingredients: dict[str, Any] = {
            "method": computation(bench, trial),
            "photo": [photo.width, photo.height, bench.photo_digest(trial.photo, spec.config.size)],
            "texts": [spec.style_text, spec.source_text],
            "seed": spec.seed,
            "config": asdict(spec.config),
            "encoders": [model.digest for model in bench.encoders.models],
            "accelerations": str(bench.encoders.accelerations),
            "device": bench.encoders.device.type,
        }
        if trial.method in WITH_STYLE_IMAGE:
            style = bench.gallery.files[style_look(bench, trial)][0]
            ingredients["style"] = hashlib.sha256(style.read_bytes()).hexdigest()
        return self._store.key(ingredients)
