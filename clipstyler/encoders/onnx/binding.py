"""Exported encoders on tensors that are on a GPU already: nothing travels through the host's memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.utils.dlpack
from torch import Tensor

from clipstyler.encoders.onnx.encoders import OnnxEncoders


class BoundEncoders:
    """`OnnxEncoders` with tensors in and tensors out, where the sessions compute.

    It pays where the images are on the GPU, as the patches of a stylized image are. On the CPU it works too, and gains
    nothing.

    Parameters
    ----------
    encoders
        Opened with the provider of the tensors' device.
    """

    def __init__(self, encoders: OnnxEncoders) -> None:
        self._encoders = encoders

    def encode_image(self, views: Tensor) -> Tensor:
        """Embed views: float32 (B, 3, image_size, image_size) in [0, 1] to (B, D), not normalized, on their device."""
        return self._run("image", [views])[0]

    def encode_text(self, sentences: Sequence[str], device: torch.device) -> Tensor:
        """Embed sentences: float32 (len(sentences), D), not normalized, on a device."""
        parts = [torch.from_numpy(part).to(device) for part in self._encoders.tokenize(sentences)]
        return self._run("text", parts)[0]

    def features(self, images: Tensor) -> list[Tensor]:
        """Content features: float32 (B, 3, H, W) in [0, 1] to one (B, C, h, w) per layer, on their device."""
        return self._run("content", [images])

    def _run(self, tower: str, inputs: Sequence[Tensor]) -> list[Tensor]:
        graph = self._encoders.manifest.graphs[tower]
        session = self._encoders.session(tower)
        device = inputs[0].device
        # Bound by address: the tensors must be in one piece, and live until the run is over.
        held = [part.detach().contiguous() for part in inputs]
        binding = session.io_binding()
        for name, part in zip(graph.inputs, held, strict=True):
            kind = np.int64 if part.dtype == torch.int64 else np.float32
            binding.bind_input(name, device.type, device.index or 0, kind, tuple(part.shape), part.data_ptr())
        for name in graph.outputs:
            binding.bind_output(name, device.type, device.index or 0)
        # ONNX Runtime computes on a stream of its own: PyTorch's work on the inputs has to be over before, and its own
        # before PyTorch reads the outputs.
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return [torch.utils.dlpack.from_dlpack(value) for value in binding.get_outputs()]
