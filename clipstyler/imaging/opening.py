"""Opens a file: limits, the scan of its container, and Pillow's plugin for its kind."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from clipstyler.imaging.containers import scan
from clipstyler.imaging.containers.scan import Scan
from clipstyler.imaging.containers.tiff import unsupported
from clipstyler.imaging.recognition import recognize
from clipstyler.imaging.values import ImageError, Limits

_ORIENTATION_TAG = 0x0112
_ENDING = b"\xff\xd9"
_NO_END = "the JPEG ends before its end marker: the last rows may be incomplete"


class _WebP(WebPImagePlugin.WebPImageFile):
    """Frees the two canvases of the animation decoder before it makes a third one."""

    def load_prepare(self) -> None:
        self._decoder = None
        super().load_prepare()


class _Avif(AvifImagePlugin.AvifImageFile):
    """Frees the decoded frame before it makes the image."""

    def load_prepare(self) -> None:
        self._decoder = None
        super().load_prepare()


def _heic(file: io.BytesIO) -> Image.Image:
    from pi_heif import HeifImageFile

    opened: Image.Image = HeifImageFile(file)
    return opened


_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": _WebP,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": _Avif,
    "HEIC": _heic,
}


@dataclass(frozen=True)
class Source:
    """An opened file, whose pixels are not decoded yet.

    Attributes
    ----------
    image
        Pillow's image.
    kind
        One of `READABLE_FORMATS`.
    scan
        What the scan of the container found.
    orientation
        How the pixels have to be turned, 1 to 8, as in EXIF.
    warnings
        Faults that do not keep the file from being read.
    """

    image: Image.Image
    kind: str
    scan: Scan
    orientation: int
    warnings: tuple[str, ...] = ()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: Any) -> None:
        self.image.close()


def open_source(data: bytes, limits: Limits) -> Source:
    """Open a file within the limits.

    Raises
    ------
    ImageError
        There are too many bytes, parts or pixels, or the kind cannot be read.
    """
    if not data:
        raise ImageError("the image is empty: send the bytes of an image file")
    if len(data) > limits.max_bytes:
        raise ImageError(
            f"the image has {len(data)} bytes, more than the limit of {limits.max_bytes}: send a smaller file"
        )
    kind = recognize(data)
    if kind == "HEIC" and not limits.heic:
        raise ImageError("the image is a HEIC photo, which is not read here: save it as JPEG, PNG or AVIF")
    scanned = scan(data, kind)
    image = _open(kind, scanned, limits)
    width, height = image.size
    if width * height > limits.max_pixels:
        image.close()
        raise ImageError(
            f"the image has {width} x {height} px, more than the limit of {limits.max_pixels} px: send a smaller one"
        )
    return Source(image, kind, scanned, _orientation(image, scanned), () if scanned.complete else (_NO_END,))


def _open(kind: str, scanned: Scan, limits: Limits) -> Image.Image:
    ending = b"" if scanned.complete else _ENDING
    try:
        return _OPENERS[kind](io.BytesIO(scanned.data + ending))
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"the image announces more pixels than the limit of {limits.max_pixels}: send a smaller one"
        ) from error
    except Exception as error:
        if scanned.layout:
            raise unsupported(scanned.layout) from error
        raise ImageError(f"the bytes are no readable {kind} image ({error}): send a complete file") from error


def _orientation(image: Image.Image, scanned: Scan) -> int:
    """Return the orientation from the header; Pillow's `getexif` would decode a whole PNG for it."""
    if scanned.layout:
        return scanned.layout.orientation
    try:
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - Pillow raises anything on broken EXIF, which viewers ignore
        return 1
