"""A network that is being fitted, and what updates it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from clipstyler.acceleration import Accelerations
from clipstyler.stylenet import Arithmetic, StyleNet

HALVING_PERIOD = 100  # updates after which the learning rate is halved


@dataclass(eq=False)
class Fit:
    """A network that is being fitted, what updates it, and how often it did."""

    net: StyleNet
    optimizer: torch.optim.Optimizer
    updates: int = 0

    @classmethod
    def begin(
        cls,
        generator: torch.Generator,
        device: torch.device,
        accelerations: Accelerations,
        learning_rate: float,
        *,
        mirrored: bool,
    ) -> Fit:
        """Return a fresh network whose weights come from a generator (on the CPU), before its first update."""
        arithmetic = _arithmetic(accelerations)
        net = StyleNet.initialize(generator, device, arithmetic=arithmetic, mirrored=mirrored)
        return cls(net, _adam(net, learning_rate, device))

    def update(self) -> None:
        """Apply the gradients once, on the device alone."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def count(self) -> None:
        """Count an update, and lower the learning rate when it is time."""
        self.updates += 1
        if self.updates % HALVING_PERIOD == 0:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5

    def begin_again(self, learning_rate: float) -> None:
        """Forget, in place, all updates and their moments."""
        self.updates = 0
        for moments in self.optimizer.state.values():
            for moment in moments.values():
                moment.zero_()
        for group in self.optimizer.param_groups:
            group["lr"] *= 0  # in place if it is a tensor
            group["lr"] += learning_rate


def _arithmetic(accelerations: Accelerations) -> Arithmetic:
    """Return how accelerations have a StyleNet computed."""
    return Arithmetic(accelerations.channels_last, accelerations.kernels, accelerations.bf16)


def _adam(net: StyleNet, learning_rate: float, device: torch.device) -> torch.optim.Adam:
    """Return what updates a network: on a GPU one whose work can be recorded, rate included."""
    if device.type != "cuda":
        return torch.optim.Adam(net.parameters(), lr=learning_rate)
    rate = torch.tensor(learning_rate, device=device)
    return torch.optim.Adam(net.parameters(), lr=rate, fused=True, capturable=True)
