"""Regions: a part of the photo that stays as it is, or follows a text of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipstyler.v1 import region_pb2
from clipstyler_client._codec import Photo, photo_bytes
from clipstyler_client._jobs import Upload
from clipstyler_client._options import OptionError, several


@dataclass(frozen=True, kw_only=True)
class Region:
    """What a mask and boxes cover together.

    Attributes
    ----------
    mask
        Bytes of an image file, its path, or what `jobs.upload` returned: white is the region, black the rest. It has
        the shape of the photo as displayed, at any size.
    boxes
        Rectangles as (x, y, width, height), in fractions of the photo's width and height from its upper left corner.
    text
        What the region should look like. Default: it stays as it is.
    feather
        Width of the transition, which lies outside the region, as a fraction of the longest side, 0 to 0.1.
        Default: the server's.
    """

    mask: Photo | Upload | None = None
    boxes: Sequence[Sequence[float]] = ()
    text: str | None = None
    feather: float | None = None


def region_message(region: Region | None) -> region_pb2.Region | None:
    """Translate a region, whose mask is read if it is a file.

    Raises
    ------
    OSError
        The mask cannot be read.
    OptionError
        A value does not fit.
    """
    if region is None:
        return None
    boxes = [_box(number, box) for number, box in enumerate(several("region.boxes", region.boxes, str))]
    try:
        message = region_pb2.Region(boxes=boxes, text=region.text, feather=region.feather)
    except (TypeError, UnicodeEncodeError) as error:
        raise OptionError("region", f"does not fit: {error}") from error
    if isinstance(region.mask, Upload):
        message.upload = region.mask.name
    elif region.mask is not None:
        message.mask = photo_bytes(region.mask, "region.mask")
    return message


def _box(number: int, box: Sequence[float]) -> region_pb2.Region.Box:
    try:
        x, y, width, height = box
        return region_pb2.Region.Box(x=x, y=y, relative_width=width, relative_height=height)
    except (TypeError, ValueError) as error:
        problem = f"must be four fractions of the photo, x, y, width and height, got {box!r}"
        raise OptionError(f"region.boxes[{number}]", problem) from error
