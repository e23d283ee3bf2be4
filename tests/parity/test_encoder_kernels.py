"""The encoders' kernels of a GPU, run by Triton's interpreter on the CPU, and the rewrites that call them."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import open_clip
import pytest
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.random_checkpoints import TINY_CLIP
from clipstyler.encoders import fused_vit
from clipstyler.encoders.bias_relu import BiasReLU, fuse_biases
from clipstyler.encoders.frozen_vit import ThreeBf16Linear, optimize_in_place, to_bf16

COMPARE = """
import torch
from torch.nn import functional as F
from clipstyler.bias_kernels import FusedBiasReLU
from clipstyler.vit_kernels import FusedAddNorm

def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

def check(found, expected, tolerance):
    apart = float((found.double() - expected).norm() / expected.norm())
    assert apart < tolerance, (tuple(found.shape), found.dtype, apart)

def doubled(*tensors):
    return [tensor.detach().double().requires_grad_() for tensor in tensors]

for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 4e-3)):
    for shape, mean in [((3, 5, 48), 0.0), ((2, 64), 70.0), ((7, 1, 96), -5.0)]:
        width = shape[-1]
        weight, bias = random(width, seed=2) + 1, random(width, seed=3)
        x = (random(*shape, seed=0) * 3 + mean).requires_grad_()
        branch = random(*shape, seed=1).to(dtype).requires_grad_()
        slopes = random(*shape, seed=4), random(*shape, seed=5).to(dtype)
        total, normalized = FusedAddNorm.apply(x, branch, weight, bias, 1e-5)
        assert (total.dtype, normalized.dtype) == (torch.float32, dtype)
        gradients = torch.autograd.grad((total, normalized), (x, branch), slopes)
        assert [gradient.dtype for gradient in gradients] == [torch.float32, dtype]
        plain = doubled(x, branch)
        wanted = plain[0] + plain[1]
        wanted = wanted, F.layer_norm(wanted, (width,), weight.double(), bias.double(), 1e-5)
        derivatives = torch.autograd.grad(wanted, plain, [slope.double() for slope in slopes])
        exact = 1e-5 if mean else 1e-6  # a mean far from zero costs digits of the input itself
        check(total.detach(), wanted[0].detach(), exact)
        check(normalized.detach(), wanted[1].detach(), max(exact, tolerance))
        check(gradients[0], derivatives[0], exact)
        check(gradients[1], derivatives[1], max(exact, tolerance))
    for shape in ((2, 12, 5, 7), (1, 64, 33, 20)):
        x = random(*shape, seed=0).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        bias, slopes = random(shape[1], seed=1).to(dtype), random(*shape, seed=2).to(dtype)
        found = FusedBiasReLU.apply(x, bias)
        assert found.dtype == dtype and found.is_contiguous(memory_format=torch.channels_last)
        (gradient,) = torch.autograd.grad(found, x, slopes)
        (plain,) = doubled(x)
        wanted = F.relu(plain + bias.double()[:, None, None])
        (derivative,) = torch.autograd.grad(wanted, plain, slopes.double())
        check(found.detach(), wanted.detach(), tolerance)
        assert torch.equal(gradient.double(), derivative)
broken = torch.tensor([-1.0, float("nan"), 2.0, float("inf")]).reshape(1, 4, 1, 1)
assert torch.equal(FusedBiasReLU.apply(broken, torch.zeros(4)).isnan(), broken.isnan())
print("alike")
"""


def test_the_kernels_are_the_frameworks_operations_and_their_derivatives() -> None:
    pytest.importorskip("triton", reason="this build of PyTorch came without Triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(  # the interpreter is chosen when the kernels are imported
        [sys.executable, "-c", COMPARE], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "alike", done.stderr


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def image_model(*, on_gpu: bool, **config: object) -> nn.Module:
    """A small CLIP in bfloat16, with the three projections of a GPU if it is to be."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = {**TINY_CLIP["vision_cfg"], **config}
        model = open_clip.CLIP(**{**TINY_CLIP, "vision_cfg": vision}, quick_gelu=True).eval().requires_grad_(False)
        for parameter in model.visual.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)  # normalizations begin as the identity
    optimize_in_place(model)
    attentions = [block.attn for block in model.visual.transformer.resblocks]
    projections = [attention.in_proj for attention in attentions]
    to_bf16(model)
    for attention, projection in zip(attentions, projections, strict=True):
        if on_gpu:
            attention.in_proj = ThreeBf16Linear(projection)
    return model


def embedded(model: nn.Module, views: Tensor) -> tuple[Tensor, Tensor]:
    entered = views.clone().requires_grad_()
    embeddings = model.encode_image(entered)
    (gradient,) = torch.autograd.grad(embeddings.square().sum(), entered)
    return embeddings.detach(), gradient


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("on_gpu", [True, False])
@pytest.mark.parametrize("config", [{}, {"pool_type": "avg"}, {"layers": 1}], ids=str)
def test_a_fused_transformer_embeds_as_the_one_that_it_replaces(config: dict[str, object], on_gpu: bool) -> None:
    model = image_model(on_gpu=on_gpu, **config)
    fused = copy.deepcopy(model)
    fused_vit.fuse_in_place(fused)
    assert isinstance(fused.visual.transformer, fused_vit.FusedTransformer)
    views = random(3, 3, 32, 32, seed=2).sigmoid()
    (expected, slope), (found, gradient) = embedded(model, views), embedded(fused, views)
    assert found.dtype == gradient.dtype == torch.float32
    assert relative(found, expected) < 5e-3
    assert relative(gradient, slope) < 1e-2


def test_a_last_block_whose_first_token_is_read_computes_that_one_only() -> None:
    seen: dict[str, list[int]] = {}
    for pool in ("tok", "avg"):
        model = image_model(on_gpu=True, pool_type=pool)
        fused_vit.fuse_in_place(model)
        lengths = seen.setdefault(pool, [])
        for block in model.visual.transformer.resblocks:
            block.mlp.register_forward_pre_hook(lambda _, inputs, lengths=lengths: lengths.append(inputs[0].shape[1]))
        model.encode_image(random(2, 3, 32, 32, seed=2).sigmoid())
    assert seen == {"tok": [17, 1], "avg": [17, 17]}


@pytest.mark.parametrize("config", [{"ls_init_value": 0.1}], ids=str)
def test_blocks_that_do_more_are_left_as_they_are(config: dict[str, object]) -> None:
    model = image_model(on_gpu=False, **config)
    fused_vit.fuse_in_place(model)
    assert isinstance(model.visual.transformer, open_clip.transformer.Transformer)


def test_blocks_in_single_precision_are_left_as_they_are() -> None:
    model = open_clip.CLIP(**TINY_CLIP)
    optimize_in_place(model)
    fused_vit.fuse_in_place(model)
    assert isinstance(model.visual.transformer, open_clip.transformer.Transformer)


def test_biases_that_relus_add_leave_the_features_as_they_were() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = torchvision.models.vgg19().features[:12].eval().requires_grad_(False)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                layer.bias.normal_()
    fused = copy.deepcopy(layers)
    fuse_biases(fused)
    assert len(fused) == len(layers)
    assert [isinstance(layer, BiasReLU) for layer in fused] == [isinstance(layer, nn.ReLU) for layer in layers]
    image = random(1, 3, 32, 32, seed=1)
    assert relative(fused(image), layers(image)) < 1e-6
