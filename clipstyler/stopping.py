"""Stopping when done: a run may end before its last step, at a target or on a plateau. Off by default."""

from __future__ import annotations

from collections import deque
from statistics import fmean

from clipstyler.config import StylizeConfig
from clipstyler.events import Losses, StopReason

_AVERAGED = 10  # steps: the patches of a single one are too few to judge by
_LEAST_GAIN = 0.01  # relative; less than that is a plateau


class StopRule:
    """Decides after each step whether a run is done, from its losses alone, so that the same run ends the same way.

    Losses are averaged over ten steps, because each step sees other patches.

    Parameters
    ----------
    config
        Its `steps`, `stop_patch_loss` and `stop_patience`.
    """

    def __init__(self, config: StylizeConfig) -> None:
        self._config = config
        self._completed = 0
        self._patch: deque[float] = deque(maxlen=_AVERAGED)
        self._total: deque[float] = deque(maxlen=_AVERAGED)
        self._best = float("inf")
        self._best_step = 0

    def add(self, losses: Losses) -> StopReason | None:
        """Take the losses of the next step; returns why the run ends with it, or None if it goes on."""
        self._completed += 1
        self._patch.append(losses.patch)
        self._total.append(losses.total)
        if self._completed == self._config.steps:
            return StopReason.STEPS
        if self._completed < _AVERAGED:
            return None
        if self._has_reached_target():
            return StopReason.TARGET
        return StopReason.PLATEAU if self._is_on_plateau() else None

    def _has_reached_target(self) -> bool:
        config = self._config
        return bool(config.stop_patch_loss and config.weight_patch) and fmean(self._patch) <= config.stop_patch_loss

    def _is_on_plateau(self) -> bool:
        total = fmean(self._total)
        if total < self._best * (1 - _LEAST_GAIN):
            self._best, self._best_step = total, self._completed
        patience = self._config.stop_patience
        return patience > 0 and self._completed - self._best_step >= patience
