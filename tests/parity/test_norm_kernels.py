"""The kernels of a GPU, run by Triton's interpreter on the CPU: the framework's normalization, and its derivative."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="this build of PyTorch came without Triton")

COMPARE = """
import torch
from torch.nn import functional as F
from clipstyler.norm_kernels import FusedNormReLU

def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

for shape, mean in [((1, 16, 40, 37), 0.0), ((2, 32, 9, 5), 50.0), ((1, 4, 64, 64), -300.0), ((3, 8, 3, 4), 1.0)]:
    x = (random(*shape, seed=0) * 3 + mean).contiguous(memory_format=torch.channels_last).requires_grad_()
    slopes = random(*shape, seed=1)
    found = FusedNormReLU.apply(x, 1e-5)
    (gradient,) = torch.autograd.grad(found, x, slopes)
    plain = x.detach().double().requires_grad_()
    expected = F.relu(F.instance_norm(plain))
    (derivative,) = torch.autograd.grad(expected, plain, slopes.double())
    assert found.is_contiguous(memory_format=torch.channels_last) and found.dtype == x.dtype
    for mine, right in ((found.detach(), expected.detach()), (gradient, derivative)):
        apart = float((mine - right).norm() / right.norm())
        assert apart < 5e-6, (shape, mean, apart)
for shape in ((1, 4, 300, 200),):  # one corner far from the rest, which has little contrast
    x = random(*shape, seed=0) * 1e-4
    x[..., 0, 0] += 0.5
    x = x.contiguous(memory_format=torch.channels_last)
    expected = F.relu(F.instance_norm(x.double()))
    apart = float((FusedNormReLU.apply(x, 1e-5) - expected).norm() / expected.norm())
    assert apart < 5e-6, (shape, apart)
broken = random(1, 16, 5, 7, seed=0)
broken[0, 3, 2, 2] = float("nan")
found = FusedNormReLU.apply(broken.contiguous(memory_format=torch.channels_last), 1e-5)
assert torch.equal(found.isnan(), F.instance_norm(broken).isnan())
print("alike")
"""


def test_the_kernels_are_the_frameworks_normalization_and_its_derivative() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(  # the interpreter is chosen when the kernels are imported
        [sys.executable, "-c", COMPARE], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "alike", done.stderr
