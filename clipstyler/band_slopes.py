"""Gradients of a network's parameters, added up over bands of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipstyler.bands import Band


class Slopes:
    """Gradients of parameters, added up over bands."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._totals = {
            parameter: torch.zeros_like(parameter) if parameter.requires_grad else None for parameter in parameters
        }

    @property
    def totals(self) -> list[Tensor | None]:
        """The gradients, None for parameters that want none."""
        return list(self._totals.values())

    def wanted_of(self, modules: Iterable[nn.Module]) -> list[Tensor]:
        """Return the parameters of modules that want a gradient."""
        return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]

    def of_convolution(self, layer: nn.Conv2d, band: Band, rows: Tensor, gradient: Tensor) -> Tensor:
        """Add the gradients of a convolution's parameters; return that of the rows that it sees, a band and its margin.

        Given the gradient of the band's output. Unlike autograd, this does not compute the output again.
        """
        stride, kernel = layer.stride[0], layer.kernel_size[0]
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        # The convolution pads each side by 1. Where the band has a margin, that is one row of it instead.
        begin = max(band.above - 1, 0)
        end = band.above - 1 + (gradient.shape[-2] - 1) * stride + kernel
        with torch.enable_grad():
            leaf = rows[..., begin:end, :].detach().requires_grad_()
            window = F.pad(leaf, (1, 1, begin - band.above + 1, end - begin - leaf.shape[-2]), mode)
        wanted = [True, layer.weight.requires_grad, layer.bias is not None and layer.bias.requires_grad]
        like = ([layer.out_channels], layer.stride, (0, 0), layer.dilation, False, (0, 0), layer.groups)
        to_window, to_weight, to_bias = torch.ops.aten.convolution_backward(
            gradient, window.detach(), layer.weight, *like, wanted
        )
        self._add(layer.weight, to_weight)
        if layer.bias is not None:
            self._add(layer.bias, to_bias)
        (to_leaf,) = torch.autograd.grad(window, leaf, to_window)
        if to_leaf.shape == rows.shape:
            return to_leaf
        return F.pad(to_leaf, (0, 0, begin, rows.shape[-2] - begin - to_leaf.shape[-2]))

    def differentiate(
        self,
        parameters: Sequence[Tensor],
        outputs: Sequence[Tensor],
        gradients: Sequence[Tensor],
        rows: Sequence[Tensor] = (),
    ) -> list[Tensor | None]:
        """Add the gradients of parameters, given those of what a band computed; return those of its rows."""
        sources = [*parameters, *(cut for cut in rows if cut.requires_grad)]
        pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
        found = iter(torch.autograd.grad([out for out, _ in pairs], sources, [pull for _, pull in pairs]))
        for parameter in parameters:
            self._add(parameter, next(found))
        return [next(found) if cut.requires_grad else None for cut in rows]

    def _add(self, parameter: Tensor, slope: Tensor | None) -> None:
        total = self._totals[parameter]
        if total is not None and slope is not None:
            total.add_(slope)
