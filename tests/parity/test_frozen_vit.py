"""The faster vision transformer against open_clip's own: embeddings and gradients, absolute tolerance 1e-5."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from torch import nn

from benchmarks.random_checkpoints import TINY_CLIP
from clipstyler.encoders.bf16 import Bf16Linear
from clipstyler.encoders.frozen_vit import FrozenAttention, PatchEmbedding, ThreeBf16Linear, optimize_in_place


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_it_computes_the_same(quick_gelu: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = open_clip.CLIP(**TINY_CLIP, quick_gelu=quick_gelu).eval().requires_grad_(False)
    fast = copy.deepcopy(plain)
    optimize_in_place(fast)
    blocks = fast.visual.transformer.resblocks
    assert all(isinstance(block.attn, FrozenAttention) for block in blocks)
    assert all(isinstance(block.mlp.gelu, torch.nn.SiLU) == quick_gelu for block in blocks)
    outcomes = []
    for model in (plain, fast):
        views = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
        embeddings = model.encode_image(views)
        embeddings.square().sum().backward()
        outcomes.append((embeddings.detach(), views.grad))
    torch.testing.assert_close(outcomes[0], outcomes[1], atol=1e-5, rtol=1e-5)


def test_patches_that_do_not_overlap_are_a_product() -> None:
    convolution = nn.Conv2d(3, 10, 8, 8, bias=False)
    images = torch.rand(2, 3, 27, 16)  # what is left over is not seen
    found = PatchEmbedding(convolution)(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, convolution(images).detach(), rtol=0, atol=2e-2)


def test_three_projections_are_the_one_that_they_were() -> None:
    linear = nn.Linear(12, 36)
    x = torch.rand(2, 5, 12)
    assert torch.equal(torch.cat(ThreeBf16Linear(linear)(x, x), dim=-1), Bf16Linear(linear)(x))
    first, *rest = ThreeBf16Linear(linear)(x[:, :2], x)
    assert torch.equal(torch.cat([first, *(part[:, :2] for part in rest)], dim=-1), Bf16Linear(linear)(x)[:, :2])
