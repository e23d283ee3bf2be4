"""The blocks of a frozen vision transformer for a GPU: each sum is computed with the normalization that follows it."""

from __future__ import annotations

from typing import Any

from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from clipstyler.encoders.bf16 import Bf16Linear
from clipstyler.encoders.frozen_vit import FrozenAttention


class FusedTransformer(nn.Module):
    """The transformer of an open_clip image tower after `frozen_vit.to_bf16`.

    The stream to which every layer adds stays in single precision; what the products read is written in bfloat16 once.

    Parameters
    ----------
    transformer
        Its blocks are taken over.
    pools_first
        Whether only the first token of the output is read: the last block then computes nothing for the others.
    """

    def __init__(self, transformer: Any, *, pools_first: bool) -> None:
        super().__init__()
        self.resblocks: Any = transformer.resblocks
        self._pools_first = pools_first

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to the same, or to (B, 1, D)."""
        normalized = self.resblocks[0].ln_1(x).bfloat16()
        for block, following in zip(self.resblocks[:-1], self.resblocks[1:], strict=True):
            x, normalized = _added(x, block.attn(normalized, normalized, normalized)[0], block.ln_2)
            x, normalized = _added(x, block.mlp(normalized), following.ln_1)
        last, read = self.resblocks[-1], normalized
        if self._pools_first:
            x, read = x[:, :1], normalized[:, :1]
        x, normalized = _added(x, last.attn(read, normalized, normalized)[0], last.ln_2)
        out: Tensor = x + last.mlp(normalized)
        return out


def _added(x: Tensor, branch: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Add what a layer returns to the stream; returns the stream, and what the next layer reads of it."""
    if x.is_cuda:
        from clipstyler.vit_kernels import FusedAddNorm  # needs Triton, which not every build of PyTorch has

        total, normalized = FusedAddNorm.apply(x, branch, norm.weight, norm.bias, norm.eps)
        return total, normalized
    total = x + branch
    return total, norm(total).to(branch.dtype)


def fuse_in_place(model: nn.Module) -> None:
    """Rewrite the vision transformer of a frozen open_clip model after `to_bf16`, if it has the expected structure."""
    visual: Any = model.visual
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", ())
    if blocks and all(map(_is_plain, blocks)):
        visual.transformer = FusedTransformer(visual.transformer, pools_first=_pools_first(visual))


def _is_plain(block: Any) -> bool:
    """Whether a block in bfloat16 is no more than attention, an MLP, and two normalizations with weights."""
    if not isinstance(block, ResidualAttentionBlock) or not isinstance(block.attn, FrozenAttention):
        return False
    scales, norms = (block.ls_1, block.ls_2), (block.ln_1, block.ln_2)
    return (
        isinstance(block.mlp.c_fc, Bf16Linear)
        and all(isinstance(scale, nn.Identity) for scale in scales)
        and all(norm.weight is not None and norm.bias is not None for norm in norms)
    )


def _pools_first(visual: Any) -> bool:
    """Whether an image tower reads the first token of its transformer only."""
    return visual.attn_pool is None and visual.pool_type == "tok" and not visual.output_tokens
