"""Recognizes the kind of a file by its first bytes, and refuses known kinds that cannot be read by their names."""

from __future__ import annotations

import importlib.util
import re

from clipstyler.imaging.values import ImageError

READABLE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIC")
"""Formats that are read. HEIC needs the package `pi-heif`, part of the extra `local`."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_FOREIGN_MAGIC = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"II\xbc\x01", "a JPEG XR image"),
    (b"IIRO", "a raw camera file"),
    (b"IIRS", "a raw camera file"),
    (b"IIU\0", "a raw camera file"),
    (b"FUJIFILMCCD-RAW", "a raw camera file"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (b"\0\0\1\xba", "a video (MPEG)"),
    (b"\0\0\1\xb3", "a video (MPEG)"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_GENERIC_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
_SVG = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml|<!--|<!DOCTYPE\s+svg|<svg)", re.IGNORECASE)


def recognize(data: bytes) -> str:
    """Return the format of a file, one of `READABLE_FORMATS`.

    Raises
    ------
    ImageError
        It is of another kind, which is named if it is known.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    for magic, name in _FOREIGN_MAGIC:
        if data.startswith(magic):
            raise _foreign(name)
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        raise _foreign("a video (AVI)")
    if _SVG.match(data[:256]) and b"<svg" in data[:4096].lower():
        raise _foreign("an SVG drawing")
    raise ImageError(f"the bytes are no readable image: use one of {', '.join(READABLE_FORMATS)}")


def _by_brand(data: bytes) -> str:
    """Tell AVIF, HEIC and video apart: the major brand decides, then the compatible brands."""
    length = min(int.from_bytes(data[:4], "big"), 256)
    major, compatible = data[8:12], {data[at : at + 4] for at in range(16, length, 4)}
    brands = [{major}, compatible] if major not in _GENERIC_BRANDS else [compatible]
    for some in brands:
        if some & {b"avif", b"avis"}:
            return "AVIF"
        if some & _HEIC_BRANDS:
            return _heic()
        if some & {b"crx "}:
            raise _foreign("a raw camera file")
    if major in _GENERIC_BRANDS:
        raise _foreign("a HEIF image of an unknown encoding")
    raise _foreign("a video (MP4 or QuickTime)")


def _heic() -> str:
    if importlib.util.find_spec("pi_heif") is None:
        raise ImageError(
            "the image is a HEIC photo, which needs the package pi-heif: install it (pip install pi-heif), "
            "or save the photo as JPEG"
        )
    return "HEIC"


def _foreign(name: str) -> ImageError:
    return ImageError(f"the file is {name}, which is not supported: save it as JPEG or PNG")
