"""Measure the accelerations of a GPU, each on a piece of the real work, as it will run: captured, if that pays."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from clipstyler.cuda_recording import CudaRecording
from clipstyler.device_memory import is_out_of_memory
from clipstyler.encoders import frozen_vit, fused_vit
from clipstyler.encoders.bf16 import Bf16Linear
from clipstyler.stylenet import PLAIN, Arithmetic, StyleNet
from clipstyler.tf32 import restored, use_tf32

_SIDE, _SMALL_SIDE = 512, 128  # of the image in StyleNet's pieces, pixels
_VIEWS, _TOKENS = 65, 3250  # of the paper's setting, with ViT-B/32
_WIDTH, _HEADS, _BLOCKS = 768, 12, 3  # of ViT-B/32, and a quarter of its blocks
_ROUNDS, _REPEATS = 5, 10

_MAY_FAIL = ("kernels",)  # Triton has no common error: no compiler, a kernel that fails

_log = logging.getLogger(__name__)

Work = Callable[[], Tensor]


_NOTHING_KNOWN: Mapping[str, float] = {}


def speedups(
    device: torch.device, names: Sequence[str], known: Mapping[str, float] = _NOTHING_KNOWN
) -> dict[str, float]:
    """Return how many times as fast each of the named accelerations is; leaves the process as it was.

    Those that cannot be measured now are left out, with a warning: there is no memory, or no compiler for the kernels.

    Parameters
    ----------
    device
        The GPU.
    names
        In the order in which they are measured.
    known
        What was measured before: the others are measured as they will run.
    """
    pieces, found = _Pieces(device), {}
    with restored():
        use_tf32(known.get("tf32", 0) > 1)
        for name in names:
            try:
                found[name] = getattr(pieces, name)()
            except Exception as error:
                if not (name in _MAY_FAIL or is_out_of_memory(error)):
                    raise
                _log.warning("%s cannot be measured here, and is not used: %s: %s", name, type(error).__name__, error)
    return found


class _Pieces:
    """One method for each acceleration: how many times as fast it is."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def graphs(self) -> float:
        """StyleNet on a small image, forward and backward: its kernels one by one, and as a whole."""
        work = self._style_net(PLAIN, _SMALL_SIDE)
        return self._seconds(work) / self._captured_seconds(work)

    def tf32(self) -> float:
        """StyleNet; leaves TF32 on if it is faster."""
        work = self._style_net(PLAIN)
        plain_s = self._captured_seconds(work)
        with restored():
            use_tf32(True)
            speedup = plain_s / self._captured_seconds(work)
        use_tf32(speedup > 1)
        return speedup

    def channels_last(self) -> float:
        """StyleNet in both layouts."""
        return self._speedup(PLAIN, Arithmetic(channels_last=True))

    def kernels(self) -> float:
        """StyleNet with interleaved channels, and three blocks of ViT-B/32."""
        plain_s, fused_s = (self._kernel_seconds(kernels) for kernels in (False, True))
        return plain_s / fused_s

    def bf16(self) -> float:
        """Three MLPs of ViT-B/32."""
        layers = (nn.Linear(_WIDTH, 4 * _WIDTH), nn.SiLU(), nn.Linear(4 * _WIDTH, _WIDTH))
        plain = nn.Sequential(*(copy.deepcopy(layer) for _ in range(3) for layer in layers))
        plain = plain.to(self._device).requires_grad_(False)
        half = nn.Sequential(*(Bf16Linear(layer) if isinstance(layer, nn.Linear) else layer for layer in plain))
        tokens = self._random(_TOKENS, _WIDTH)
        plain_s, half_s = (self._captured_seconds(self._pass_through(net, tokens)) for net in (plain, half))
        return plain_s / half_s

    def _kernel_seconds(self, kernels: bool) -> float:
        net = self._style_net(Arithmetic(channels_last=True, kernels=kernels))
        tower = self._image_tower(fused=kernels)
        views = self._random(_VIEWS, 3, tower.image_size[0], tower.image_size[1])
        return self._captured_seconds(net) + self._captured_seconds(self._pass_through(tower, views))

    def _image_tower(self, *, fused: bool) -> VisionTransformer:
        """Return ViT-B/32 with three blocks, frozen and in bfloat16; its weights are random, which takes as long."""
        model = nn.Module()
        with torch.random.fork_rng(devices=[]):
            tower = model.visual = VisionTransformer(224, 32, _WIDTH, _BLOCKS, _HEADS, 4.0, output_dim=512)
        model.eval().requires_grad_(False)
        frozen_vit.optimize_in_place(model)
        model.to(self._device)
        frozen_vit.to_bf16(model)
        if fused:
            fused_vit.fuse_in_place(model)
        return tower

    def _speedup(self, plain: Arithmetic, accelerated: Arithmetic) -> float:
        plain_s, accelerated_s = (self._captured_seconds(self._style_net(each)) for each in (plain, accelerated))
        return plain_s / accelerated_s

    def _style_net(self, arithmetic: Arithmetic, side: int = _SIDE) -> Work:
        net = StyleNet.initialize(torch.Generator().manual_seed(0), self._device, arithmetic=arithmetic)
        return self._pass_through(net, self._random(1, 3, side, side))

    def _random(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(self._device)

    def _pass_through(self, module: nn.Module, values: Tensor) -> Work:
        """Forward, and backward to the parameters or else to the input."""
        entered = values.requires_grad_()
        sought: list[Tensor] = [parameter for parameter in module.parameters() if parameter.requires_grad] or [entered]

        def run() -> Tensor:
            out: Tensor = module(entered)
            return torch.autograd.grad(out.float().square().mean(), sought)[0].sum()

        return run

    def _seconds(self, work: Work) -> float:
        """Return the seconds of the fastest of some rounds."""
        durations = []
        for _ in range(1 + _ROUNDS):
            torch.cuda.synchronize(self._device)
            begun = time.perf_counter()
            for _ in range(_REPEATS):
                work()
            torch.cuda.synchronize(self._device)
            durations.append(time.perf_counter() - begun)
        return min(durations)

    def _captured_seconds(self, work: Work) -> float:
        recording = CudaRecording(work, self._device)

        def run() -> Tensor:
            recording.start()
            return recording.wait()

        return self._seconds(run)
