"""How long jobs take, from the step times that were measured."""

from __future__ import annotations

from clipstyler_server.engine.base import Order

_WEIGHT = 0.1  # of a new measurement in the running mean


class Forecast:
    """Running means of step times: one for each kind of order, and one of all."""

    def __init__(self) -> None:
        self._step_s: dict[tuple[str, int, int] | None, float] = {}

    def note(self, order: Order, step_s: float) -> None:
        """Learn from a step."""
        for key in (_kind(order), None):
            known = self._step_s.get(key, step_s)
            self._step_s[key] = known + _WEIGHT * (step_s - known)

    def seconds(self, order: Order, done: int = 0) -> float | None:
        """Expect so long for what is left of an order; None as long as nothing was measured."""
        step_s = self._step_s.get(_kind(order), self._step_s.get(None))
        return None if step_s is None else step_s * max(0, order.config.steps - done)


def _kind(order: Order) -> tuple[str, int, int]:
    return (order.encoders, order.config.size, order.config.patches)
