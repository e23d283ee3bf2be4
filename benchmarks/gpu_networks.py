"""The networks of a step on a GPU, each alone and captured, forward and backward: a part of `benchmarks.gpu`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.step import median_seconds
from clipstyler.cuda_recording import CudaRecording
from clipstyler.run_state import RunState

_STARTS = 20  # of a recording, per measurement


def network_ms(state: RunState, repeats: int) -> dict[str, float]:
    """Return milliseconds of CLIP with the views of a step, of the content encoder, and of StyleNet.

    Parameters
    ----------
    state
        A run that has completed no step.
    repeats
        Measurements, of which the median counts.
    """
    encoders, views = state.encoders, state.views(state.photo, state.choose_views().to(state.encoders.device))
    works = {
        "clip": _gradient(encoders.clip.encode_image, views.detach().requires_grad_()),
        "content": _gradient(
            lambda image: torch.cat([layer.flatten() for layer in encoders.content.features(image)]),
            state.photo.clone().requires_grad_(),
        ),
        "style_net": _gradient(state.net, state.input, list(state.net.parameters())),
    }
    return {name: _captured_ms(work, encoders.device, repeats) for name, work in works.items()}


def _gradient(
    network: Callable[[Tensor], Tensor], entered: Tensor, sought: Sequence[Tensor] = ()
) -> Callable[[], Tensor]:
    """Return what runs a network, and differentiates to its input or to other tensors."""
    wanted = [tensor for tensor in sought if tensor.requires_grad] or [entered]

    def run() -> Tensor:
        return torch.autograd.grad(network(entered).float().square().mean(), wanted)[0].sum()

    return run


def _captured_ms(work: Callable[[], Tensor], device: torch.device, repeats: int) -> float:
    recording = CudaRecording(work, device)

    def run() -> None:
        for _ in range(_STARTS):
            recording.start()
        recording.wait()

    run()
    (seconds,) = median_seconds([run], repeats)
    return 1e3 * seconds / _STARTS
