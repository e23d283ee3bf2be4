"""Reads and writes images: limits, orientation, color profile, alpha and aspect ratio. No PyTorch.

Input is bounded before its pixels are decoded; output is 8-bit sRGB.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from clipstyler.image_format import ImageFormat

READABLE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = {5, 6, 7, 8}


class ImageError(ValueError):
    """An image cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What is accepted before decoding: bytes of the file, and pixels (width times height)."""

    max_bytes: int = 16 * 2**20
    max_pixels: int = 64_000_000


@dataclass(frozen=True)
class Header:
    """The header of an image: its format, and its size as displayed."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image in sRGB.

    Attributes
    ----------
    rgb
        uint8, (height, width, 3); if the image has alpha, composited on white.
    alpha
        uint8, (height, width), or None if everything is opaque.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.rgb.shape[0])


@dataclass(frozen=True)
class ImageMetadata:
    """Describes an encoded image: encoding, size in pixels and bytes, SHA-256 in lower-case hexadecimal."""

    format: ImageFormat | None
    width: int
    height: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class EncodedImage:
    """An image file in memory.

    Attributes
    ----------
    data
        The bytes of the file.
    format, width, height
        Encoding, and size in pixels.
    sha256
        Digest of the bytes, 32 bytes.
    """

    data: bytes = field(repr=False)
    format: ImageFormat
    width: int
    height: int
    sha256: bytes = field(repr=False)

    @property
    def metadata(self) -> ImageMetadata:
        """What describes the file, without its bytes."""
        return ImageMetadata(self.format, self.width, self.height, len(self.data), self.sha256.hex())


def read_header(data: bytes, limits: Limits | None = None) -> Header:
    """Read format and size and check them against the limits, without decoding pixels.

    Raises
    ------
    ImageError
        There are too many bytes or pixels, or the format cannot be read.
    """
    with _open(data, limits or Limits()) as image:
        width, height = image.size
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return Header(str(image.format), width, height)


def decode(data: bytes, limits: Limits | None = None) -> Picture:
    """Decode an image: the first frame, upright, in sRGB, composited on white, alpha kept separately.

    Grayscale, palette, CMYK, 16-bit and float images are converted to 8-bit RGB.

    Raises
    ------
    ImageError
        As `read_header`, or the pixels are broken or missing.
    """
    with _open(data, limits or Limits()) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _picture(_to_srgb(_to_eight_bits(upright)))
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"the image is truncated or broken: {error}; send a complete file") from error


def fitted_size(width: int, height: int, size: int, enlarge: bool = False) -> tuple[int, int]:
    """Width and height after fitting the longest side to `size` pixels, aspect kept, no side under 1 px."""
    scale = size / max(width, height)
    if scale > 1 and not enlarge:
        scale = 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


def fit(picture: Picture, size: int, enlarge: bool = False) -> Picture:
    """Resize so that the longest side is `size` pixels, aspect kept; smaller images only when `enlarge`."""
    return _resize(picture, fitted_size(picture.width, picture.height, size, enlarge))


def shrink(picture: Picture, max_size: int) -> Picture:
    """Resize so that no side is longer than `max_size` pixels, aspect kept; never enlarges."""
    scale = min(1.0, max_size / max(picture.width, picture.height))
    return _resize(picture, (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))


def encode(picture: Picture, image_format: ImageFormat, quality: int = 90) -> bytes:
    """Encode a picture; the same picture always gives the same bytes.

    Parameters
    ----------
    picture
        What to encode. Its alpha is kept in PNG and WebP; JPEG shows it on white.
    image_format
        The encoding.
    quality
        Of JPEG and WebP, 1 to 100.
    """
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None and image_format is not ImageFormat.JPEG:
        image.putalpha(Image.fromarray(picture.alpha))
    buffer = io.BytesIO()
    options = {} if image_format is ImageFormat.PNG else {"quality": quality}
    image.save(buffer, format=image_format.value, **options)
    return buffer.getvalue()


def encoded(picture: Picture, image_format: ImageFormat, quality: int = 90) -> EncodedImage:
    """Encode a picture as `encode` does, and describe the file."""
    data = encode(picture, image_format, quality)
    return EncodedImage(data, image_format, picture.width, picture.height, hashlib.sha256(data).digest())


def _open(data: bytes, limits: Limits) -> Image.Image:
    if not data:
        raise ImageError("the image is empty: send the bytes of an image file")
    if len(data) > limits.max_bytes:
        raise ImageError(
            f"the image has {len(data)} bytes, more than the limit of {limits.max_bytes}: send a smaller file"
        )
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(data), formats=READABLE_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"the image announces more pixels than the limit of {limits.max_pixels}: send a smaller one"
        ) from error
    except Exception as error:
        raise ImageError(f"the bytes are no readable image: use one of {', '.join(READABLE_FORMATS)}") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        image.close()
        raise ImageError(
            f"the image has {width} x {height} px, more than the limit of {limits.max_pixels} px: send a smaller one"
        )
    return image


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation from the header; Pillow's `getexif` would decode a whole PNG for it."""
    try:
        if image.format == "TIFF":
            return int(image.getexif().get(_ORIENTATION_TAG, 1))
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - Pillow raises anything on broken EXIF, which viewers ignore
        return 1


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit and float grays to 8 bits; Pillow reads 16-bit color as 8 bits by itself."""
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image, dtype=np.float64), 0, 65535) / 257
    elif image.mode == "F":
        floats = np.nan_to_num(np.asarray(image, dtype=np.float64))
        values = np.clip(floats * (255 if floats.max() <= 1 else 1), 0, 255)
    else:
        return image
    return Image.fromarray(np.round(values).astype(np.uint8))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert to RGB or RGBA, through the embedded color profile if it is usable."""
    profile = image.info.get("icc_profile")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            flat = image if image.mode in {"L", "RGB", "CMYK"} else image.convert("RGB")
            colors = ImageCms.profileToProfile(flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            # A broken or mismatched profile is ignored, as viewers do.
            return image.convert(mode)
        if colors is not None:
            if mode == "RGBA":
                colors.putalpha(image.convert("RGBA").getchannel("A"))
            return colors
    return image.convert(mode)


def _picture(image: Image.Image) -> Picture:
    pixels = np.asarray(image)
    if image.mode == "RGB":
        return Picture(np.ascontiguousarray(pixels))
    alpha = np.ascontiguousarray(pixels[..., 3])
    if alpha.min() == 255:
        return Picture(np.ascontiguousarray(pixels[..., :3]))
    opacity = alpha[..., None].astype(np.float32) / 255
    on_white = pixels[..., :3] * opacity + 255 * (1 - opacity)
    return Picture(np.round(on_white).astype(np.uint8), alpha)


def _resize(picture: Picture, size: tuple[int, int]) -> Picture:
    if size == (picture.width, picture.height):
        return picture

    def resized(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))

    return Picture(resized(picture.rgb), None if picture.alpha is None else resized(picture.alpha))
