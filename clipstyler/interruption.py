"""Stopping in the middle of a step: a check that is called between the layers of networks, forward and backward."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Check = Callable[[], None]
"""Called often while work goes on; it stops the work by raising an exception, which reaches the caller as it is."""

ItemT = TypeVar("ItemT")
ValueT = TypeVar("ValueT")


def never() -> None:
    """Never stop the work."""


class StopPoints:
    """A context in which networks call a check after each of their layers, and before each layer's gradient.

    Results do not change, and no layer is called in between: the work stops at the latest after the one that runs. Only
    the thread that entered the context is stopped, so that networks may be shared. With `never`, nothing is installed.

    Parameters
    ----------
    check
        Stops the work.
    *networks
        Those that are no `nn.Module` have no layers to stop at.

    Attributes
    ----------
    check
        The same, for other places to stop at.
    """

    def __init__(self, check: Check, *networks: object) -> None:
        self.check = check
        modules = (part for network in networks if isinstance(network, nn.Module) for part in network.modules())
        # Encoders may share layers.
        self._layers = list(dict.fromkeys(part for part in modules if next(part.children(), None) is None))
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> None:
        if self.check is never:
            return
        self.check()
        owner = threading.get_ident()

        def after_layer(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            if threading.get_ident() != owner:
                return
            self.check()
            if isinstance(output, Tensor) and output.requires_grad:
                output.register_hook(self._before_gradient)

        self._handles = [layer.register_forward_hook(after_layer) for layer in self._layers]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before_gradient(self, _gradient: Tensor) -> None:
        self.check()

    def within(self, items: Generator[ItemT, None, ValueT]) -> Generator[ItemT, None, ValueT]:
        """Yield from a generator whose own work, but not that of its consumer, runs in this context."""
        while True:
            with self:
                try:
                    item = next(items)
                except StopIteration as end:
                    value: ValueT = end.value
                    return value
            yield item
