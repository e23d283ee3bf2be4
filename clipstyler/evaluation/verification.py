"""Verification of encoders from their files to zero-shot answers, without reference data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.parity import check_parity
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.encoders.weights.store import Stored
from clipstyler.evaluation.zero_shot import classify
from clipstyler.imaging import Picture

_SIDE = 224
# Common color names: any encoder trained on captions ranks them correctly.
_COLORS = {"red": (220, 30, 30), "green": (30, 160, 50), "blue": (30, 60, 220), "yellow": (250, 220, 30)}


@dataclass(frozen=True)
class Check:
    """One check: its name, whether it passed, and the measured values."""

    name: str
    passed: bool
    detail: str


def check_files(stored: list[Stored]) -> Iterator[Check]:
    """Compare stored weights with their recorded and published digests."""
    for weights in stored:
        try:
            weights.check()
        except EncoderUnavailableError as error:
            yield Check(f"digest of {weights.name}", False, str(error))
        else:
            against = "as published" if weights.published else "as recorded; its publisher names none"
            yield Check(f"digest of {weights.name}", True, f"{weights.digest}, {against}")


def check_zero_shot(encoders: EncoderSet) -> Iterator[Check]:
    """Classify solid-color images: the right color must rank first."""
    labels = [f"a plain {color} picture" for color in _COLORS]
    for label, value in zip(labels, _COLORS.values(), strict=True):
        picture = Picture(np.full((_SIDE, _SIDE, 3), value, np.uint8))
        best, second, *_ = classify(picture, labels, TorchEncoders(encoders))
        detail = f"{best.label!r} {best.probability:.3f}, {second.label!r} {second.probability:.3f}"
        yield Check(f"zero-shot, {label}", best.label == label, detail)


def check_exports(encoders: EncoderSet) -> Iterator[Check]:
    """Export in both precisions and compare ONNX Runtime with PyTorch."""
    for half in (False, True):
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / "export"
            precision = export(encoders, directory, half=half).precision
            parity = check_parity(TorchEncoders(encoders), OnnxEncoders(directory, SessionOptions(("cpu",))))
        yield Check(f"PyTorch against ONNX, {precision}", parity.holds, str(parity))
