"""What a stylization starts from: photo and mask at the sizes at which they are needed. No PyTorch here."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

from clipstyler.config import StylizeConfig
from clipstyler.imaging import ImageError, Picture, decode_fitted, fitted_size, read_header
from clipstyler.masking import Levels, mask_digest, picture_mask, pixels_left, read_mask
from clipstyler.options import ConfigError
from clipstyler.original import Original
from clipstyler.spec import StylizationSpec


class Inputs(NamedTuple):
    """What `clipstyler.optimization.optimize` takes.

    Attributes
    ----------
    picture, mask
        The photo, and the light of the region's mask at the size of the optimization; None if there is none.
    spec
        What is asked for, with the digest of the mask.
    fitted
        Its configuration with the crop size filled in.
    original
        What a larger result is rendered from.
    """

    picture: Picture
    mask: Levels | None
    spec: StylizationSpec
    fitted: StylizeConfig
    original: Original


def read_inputs(photo: bytes | Picture, mask: bytes | Picture | None, spec: StylizationSpec) -> Inputs:
    """Read a photo and the mask of its region, and check that region and crops fit it.

    Raises
    ------
    ImageError
        The photo cannot be used.
    ConfigError
        The mask, the region or the crops cannot be used.
    """
    config, region = spec.config, spec.region
    if isinstance(photo, Picture):
        picture, original, size = photo, Original.of_picture(photo, config), (photo.width, photo.height)
    else:
        picture, original = decode_fitted(photo, config.size, config.enlarge), Original.of_file(photo, config)
        header = read_header(photo)
        size = (header.width, header.height)
    own = fitted_size(picture.width, picture.height, config.size, config.enlarge)
    levels = None
    if region and mask is not None:
        load = partial(_mask_levels, mask, size)
        levels = load(own)
        original = replace(original, load_mask=partial(load, (original.width, original.height)))
        spec = replace(spec, region=replace(region, mask_digest=mask_digest(mask)))
    return Inputs(picture, levels, spec, config.fitted(*own, pixels_left(region, levels, own)), original)


def _mask_levels(mask: bytes | Picture, photo: tuple[int, int], size: tuple[int, int]) -> Levels:
    try:
        return read_mask(mask, photo, size) if isinstance(mask, bytes) else picture_mask(mask, photo, size)
    except ImageError as error:
        raise ConfigError("region.mask", str(error)) from error
