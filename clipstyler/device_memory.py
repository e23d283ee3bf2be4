"""Errors of PyTorch that mean that a device, or the processor, has no more memory."""

from __future__ import annotations

import torch

# PyTorch's class for it is of its own allocator for GPUs; these are the words of the processor's, of CUDA, where it
# takes memory itself, as for a graph, and of cuBLAS and cuDNN.
_WORDS = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory was lacking."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
