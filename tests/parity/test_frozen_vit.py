"""The faster vision transformer against open_clip's own: embeddings and gradients, absolute tolerance 1e-5."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch

from benchmarks.random_checkpoints import TINY_CLIP
from clipstyler.encoders.frozen_vit import FrozenAttention, optimize_in_place


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
