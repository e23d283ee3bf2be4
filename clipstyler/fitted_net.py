"""A network that is being fitted, and what updates it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from clipstyler.acceleration import Accelerations
from clipstyler.stylenet import Arithmetic, StyleNet

HALVING_PERIOD = 100  # updates after which the learning rate is halved


class Schedule(NamedTuple):
    """The learning rates of all updates of a run.

    Attributes
    ----------
    first
        Of the first update.
    final_share
        What is left of it after the last one: it falls along half a cosine. 1 keeps it (the paper).
    updates
        How many there are.
    """

    first: float
    final_share: float = 1.0
    updates: int = 1

    def rate_after(self, updates: int) -> float:
        """Return the rate after so many updates, which is also halved after every hundred (the paper)."""
        left = (1 + math.cos(math.pi * min(updates / self.updates, 1.0))) / 2
        share = self.final_share + (1 - self.final_share) * left
        return self.first * share * 0.5 ** (updates // HALVING_PERIOD)


@dataclass(eq=False)
class Fit:
    """A network that is being fitted, what updates it and at which rates, and how often it did."""

    net: StyleNet
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    updates: int = 0

    @classmethod
    def begin(
        cls,
        generator: torch.Generator,
        device: torch.device,
        accelerations: Accelerations,
        schedule: Schedule,
        *,
        mirrored: bool,
    ) -> Fit:
        """Return a fresh network whose weights come from a generator (on the CPU), before its first update."""
        arithmetic = _arithmetic(accelerations)
        net = StyleNet.initialize(generator, device, arithmetic=arithmetic, mirrored=mirrored)
        return cls(net, _adam(net, schedule.first, device), schedule)

    def update(self) -> None:
        """Apply the gradients once, on the device alone."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def count(self) -> None:
        """Count an update, and change the learning rate when it is time."""
        before = self.schedule.rate_after(self.updates)
        self.updates += 1
        after = self.schedule.rate_after(self.updates)
        if after != before:
            self._set_rate(after)

    def begin_again(self, schedule: Schedule) -> None:
        """Forget, in place, all updates and their moments, and follow another schedule."""
        self.updates, self.schedule = 0, schedule
        for moments in self.optimizer.state.values():
            for moment in moments.values():
                moment.zero_()
        self._set_rate(schedule.first)

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] *= 0  # in place if it is a tensor
            group["lr"] += rate


def _arithmetic(accelerations: Accelerations) -> Arithmetic:
    """Return how accelerations have a StyleNet computed."""
    return Arithmetic(accelerations.channels_last, accelerations.kernels, accelerations.bf16)


def _adam(net: StyleNet, learning_rate: float, device: torch.device) -> torch.optim.Adam:
    """Return what updates a network: on a GPU one whose work can be recorded, rate included."""
    if device.type != "cuda":
        return torch.optim.Adam(net.parameters(), lr=learning_rate)
    rate = torch.tensor(learning_rate, device=device)
    return torch.optim.Adam(net.parameters(), lr=rate, fused=True, capturable=True)
