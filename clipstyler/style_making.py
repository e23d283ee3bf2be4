"""Makes a style of a fitted network: its weights in half precision, and what its normalizations saw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clipstyler.encoders.description import EncoderModel
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import Picture, encode, shrink
from clipstyler.provenance import library_versions
from clipstyler.render import moments_of
from clipstyler.spec import StylizationSpec
from clipstyler.style import THUMBNAIL_SIDE, Array, Style, StyleDescription
from clipstyler.stylenet import StyleNet


@torch.no_grad()
def style_of(
    net: StyleNet,
    inputs: Sequence[Tensor],
    stylized: Picture,
    spec: StylizationSpec,
    models: tuple[EncoderModel, ...],
    steps: int,
) -> Style:
    """Return the style that a fitted network is.

    Parameters
    ----------
    net
        The network.
    inputs
        What it was fitted on, each photo with its noise: (1, 3, H, W).
    stylized
        What it makes of one of them.
    spec
        How it was fitted.
    models
        What guided the fit.
    steps
        Optimizer steps completed.
    """
    config = spec.config
    seen = [moments_of(net, image)[0] for image in inputs]
    description = StyleDescription(
        style_text=spec.style_text,
        source_text=spec.source_text,
        template_set=str(config.template_set),
        encoder_set=spec.encoder_set,
        models=models,
        seed=spec.seed,
        size=config.size,
        steps=steps,
        photos=len(inputs),
        input_noise=config.input_noise,
        noise_octaves=config.noise_octaves,
        contrast=config.contrast,
        border=str(config.border),
        versions=library_versions(),
        thumbnail=encode(shrink(Picture(stylized.rgb), THUMBNAIL_SIDE), ImageFormat.PNG),
    )
    weights = {name: tensor.cpu().numpy() for name, tensor in net.state_dict().items()}
    return Style(description, weights, {name: _joined([moments[name] for moments in seen]) for name in seen[0]})


def _joined(moments: Sequence[tuple[Tensor, Tensor]]) -> Array:
    """Return variance and mean over all photos together, (2, channels)."""
    variances, means = (torch.stack(rows) for rows in zip(*moments, strict=True))
    variance = variances.mean(dim=0) + means.var(dim=0, correction=0)
    return torch.stack([variance, means.mean(dim=0)]).float().cpu().numpy()
