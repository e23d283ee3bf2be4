"""TF32 on GPUs: whether products in single precision round their factors to 10 bits of mantissa, by process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_PARTS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]


def use_tf32(wanted: bool) -> None:
    """Have all products of this process use TF32, or none: PyTorch itself uses it for convolutions."""
    for part in _PARTS:
        part.fp32_precision = "tf32" if wanted else "ieee"


@contextmanager
def restored() -> Iterator[None]:
    """Leave the use of TF32 as it was before."""
    before = [part.fp32_precision for part in _PARTS]
    try:
        yield
    finally:
        for part, precision in zip(_PARTS, before, strict=True):
            part.fp32_precision = precision
