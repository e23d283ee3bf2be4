"""Makes a style of a fitted network."""

from __future__ import annotations

from collections.abc import Sequence

from clipstyler.encoders.description import EncoderModel
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import Picture, encode, shrink
from clipstyler.provenance import library_versions
from clipstyler.spec import StylizationSpec
from clipstyler.style import SMALLEST_SIZE, THUMBNAIL_SIDE, Precision, Style, StyleDescription
from clipstyler.stylenet import StyleNet


def style_of(
    net: StyleNet,
    longest_sides: Sequence[int],
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
    longest_sides
        Of the photos that it was fitted to, in pixels.
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
    description = StyleDescription(
        style_text=spec.style_text,
        source_text=spec.source_text,
        template_set=str(config.template_set),
        encoder_set=spec.encoder_set,
        models=models,
        seed=spec.seed,
        size=max(SMALLEST_SIZE, *longest_sides),
        steps=steps,
        photos=len(longest_sides),
        input_noise=config.input_noise,
        noise_octaves=config.noise_octaves,
        contrast=config.contrast,
        border=str(config.border),
        precision=str(Precision.HALF),
        versions=library_versions(),
        thumbnail=encode(shrink(Picture(stylized.rgb), THUMBNAIL_SIDE), ImageFormat.PNG),
    )
    return Style(description, {name: tensor.cpu().numpy() for name, tensor in net.state_dict().items()})
