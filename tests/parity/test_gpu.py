"""On CUDA the same run goes as on the CPU; tolerance two gray levels on average after three steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipstyler.config import resolve
from clipstyler.encoders.registry import load
from clipstyler.events import Result
from clipstyler.imaging import decode
from tests.running import stylize

PHOTO = Path(__file__).parents[2] / "examples" / "cat.jpg"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_goes_as_on_the_cpu() -> None:
    results = {}
    for device in ("cpu", "cuda"):
        encoders = load("pocket", device)
        config = resolve(encoders.calibration, size=128, steps=3)
        *_, last = stylize(decode(PHOTO.read_bytes()), "fire", encoders, config, seed=1)
        assert isinstance(last, Result)
        assert last.device.startswith(device)
        results[device] = last.image.rgb.astype(int)
    assert np.abs(results["cpu"] - results["cuda"]).mean() < 2
