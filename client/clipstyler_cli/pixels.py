"""Image files as pixels to draw with: decoded as for a stylization, or by Pillow in a light install."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image, ImageCms, ImageOps

_PLAIN_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_WHITE_IS_ZERO, _BITS, _PHOTOMETRIC = 0, 258, 262  # of TIFF


def opened(data: bytes) -> Image.Image | None:
    """Decode an image: upright, 8-bit sRGB, on white; None if it cannot be shown as it is.

    The library's decoder reads every format that a stylization accepts. A light install lacks it and reads what Pillow
    converts without loss of meaning: 8-bit images, and 16-bit gray.
    """
    try:
        return _decoded(data)
    except Exception:  # noqa: BLE001 - Pillow raises anything on broken files, and a finished run must not fail by one
        return None


def _decoded(data: bytes) -> Image.Image | None:
    try:
        from clipstyler.imaging import decode
    except ModuleNotFoundError:  # it needs NumPy
        return _opened_by_pillow(data)
    return Image.fromarray(decode(data).rgb)


def _opened_by_pillow(data: bytes) -> Image.Image | None:
    image = Image.open(io.BytesIO(data))
    image.load()
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _sixteen_to_eight_bits(upright, getattr(image, "tag_v2", {}))
    return _plain_to_srgb(upright) if image.mode in _PLAIN_MODES else None


def _sixteen_to_eight_bits(image: Image.Image, tags: Mapping[int, object]) -> Image.Image | None:
    """Scale 16-bit gray; None if a TIFF declares another depth, or there is a transparent value or a profile."""
    if tags.get(_BITS, (16,)) != (16,) or {"transparency", "icc_profile"} & image.info.keys():
        return None
    gray = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    return (ImageOps.invert(gray) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else gray).convert("RGB")


def _plain_to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    colors = _through(profile, image) if profile else image.convert("RGB")
    if not image.has_transparency_data:
        return colors
    colors.putalpha(image.convert("RGBA").getchannel("A"))
    on_white = Image.new("RGBA", colors.size, "white")
    on_white.alpha_composite(colors)
    return on_white.convert("RGB")


def _through(profile: bytes, image: Image.Image) -> Image.Image:
    flat = image if image.mode in {"L", "RGB", "CMYK"} else image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        colors = ImageCms.profileToProfile(flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        colors = None  # a broken or mismatched profile is ignored, as viewers do
    return colors or image.convert("RGB")
