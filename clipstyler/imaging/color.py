"""Converts colors to sRGB: by an embedded profile, by the color tags of a PNG, or as plain sRGB."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from clipstyler.imaging.depth import Convert
from clipstyler.imaging.opening import Source
from clipstyler.imaging.values import ImageError

_MAX_PROFILE_BYTES = 8 * 2**20
_SPACES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK", "Lab ": "LAB"}
_SRGB_GAMMA = 45_455
_SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES = {
    1: _SRGB_CHROMATICITIES,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.3140, 0.3510, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}
_VIDEO_TRANSFERS, _LINEAR, _SRGB_TRANSFER = {1, 6, 14, 15}, 8, 13
_GAMMAS = {4: 2.2, 5: 2.8}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Floats = NDArray[np.float64]


def srgb_converter(mode: str, source: Source) -> Convert:
    """Return what converts strips of a mode (L, LA, RGB, RGBA, CMYK or LAB) to RGB or RGBA.

    The first that is usable decides: the cICP chunk (or the code points of a HEIC), the profile, the sRGB chunk, the
    gAMA and cHRM chunks. A broken or mismatched profile is ignored, as viewers do.

    Raises
    ------
    ImageError
        The image is encoded for a high dynamic range and holds no profile.
    """
    chunks, code = source.scan.chunks, _code_points(source)
    flat_mode = mode.removesuffix("A")
    change = _by_code(flat_mode, code) or _by_profile(flat_mode, _profile(source))
    if change is None and len(code) == 4 and code[1] in _HIGH_DYNAMIC_RANGE:
        name = _HIGH_DYNAMIC_RANGE[code[1]]
        raise ImageError(f"an image with the HDR encoding {name} is not supported: save it in sRGB or Display P3")
    if change is None and b"sRGB" not in chunks:
        change = _by_gamma(flat_mode, chunks)
    return lambda strip: _changed(strip, change)


def _changed(strip: Image.Image, change: Convert | None) -> Image.Image:
    """Change the colors and keep the alpha."""
    has_alpha = strip.mode in {"LA", "RGBA"}
    if change is None:
        return strip.convert("RGBA" if has_alpha else "RGB")
    colors = change(strip.convert(strip.mode.removesuffix("A"))).convert("RGB")
    if has_alpha:
        colors.putalpha(strip.getchannel("A"))
    return colors


def _code_points(source: Source) -> bytes:
    """Return primaries, transfer, matrix and range as in a cICP chunk: of a PNG, or of a HEIC without a profile."""
    nclx = source.image.info.get("nclx_profile")
    if not nclx or source.image.info.get("icc_profile"):
        return source.scan.chunks.get(b"cICP", b"")
    return bytes([nclx["color_primaries"] & 255, nclx["transfer_characteristics"] & 255, 0, 1])


def _profile(source: Source) -> bytes:
    """Return the embedded profile; that of a PNG is decompressed here, within a bound."""
    if b"iCCP" not in source.scan.chunks:
        return source.image.info.get("icc_profile") or b""
    _, _, packed = source.scan.chunks[b"iCCP"].partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return b""


def _by_profile(mode: str, profile: bytes) -> Convert | None:
    if not profile:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        own_mode = _SPACES.get(opened.profile.xcolor_space)
        if own_mode is None or (own_mode != mode and (mode, own_mode) != ("L", "RGB")):
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), own_mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return lambda flat: _transformed(flat.convert(own_mode), transform)


def _transformed(flat: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    result = ImageCms.applyTransform(flat, transform)
    assert result is not None  # only a transform in place returns nothing
    return result


def _by_code(mode: str, code: bytes) -> Convert | None:
    """Convert by coding-independent code points (ITU-T H.273): primaries and transfer."""
    if len(code) != 4 or code[0] not in _PRIMARIES or code[2] != 0 or mode not in {"L", "RGB"}:
        return None
    encoded = np.arange(256) / 255
    if code[1] == _SRGB_TRANSFER:
        linear = _decoded_srgb(encoded)
    elif code[1] in _VIDEO_TRANSFERS:
        linear = np.where(encoded < 0.081, encoded / 4.5, ((encoded + 0.099) / 1.099) ** (1 / 0.45))
    elif code[1] in _GAMMAS:
        linear = encoded ** _GAMMAS[code[1]]
    elif code[1] == _LINEAR:
        linear = encoded
    else:
        return None
    return _by_light(linear, _matrix(_PRIMARIES[code[0]]))


def _by_gamma(mode: str, chunks: Mapping[bytes, bytes]) -> Convert | None:
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") or _SRGB_GAMMA
    chromaticities = chunks.get(b"cHRM", b"")
    corners = _SRGB_CHROMATICITIES
    if len(chromaticities) >= 32:
        corners = tuple(value / 100_000 for value in struct.unpack(">8I", chromaticities[:32]))
    same_gamma = abs(gamma - _SRGB_GAMMA) < 500
    same_corners = np.allclose(corners, _SRGB_CHROMATICITIES, atol=0.002)
    if (same_gamma and same_corners) or mode not in {"L", "RGB"} or not 1_000 < gamma < 1_000_000:
        return None
    encoded = np.arange(256) / 255
    linear = _decoded_srgb(encoded) if same_gamma else encoded ** (100_000 / gamma)
    return _by_light(linear, np.eye(3) if same_corners else _matrix(corners))


def _by_light(linear: Floats, matrix: Floats | None) -> Convert | None:
    """Return what looks up linear light, mixes the primaries, and encodes as sRGB; None without a matrix."""
    if matrix is None:
        return None
    grays = np.round(_encoded_srgb(linear) * 255).astype(int).tolist()
    table, mixing = linear.astype(np.float32), matrix.astype(np.float32).T

    def convert(flat: Image.Image) -> Image.Image:
        if flat.mode == "L":
            return flat.point(grays)
        light = table[np.asarray(flat)] @ mixing
        return Image.fromarray(np.round(_encoded_srgb(light) * 255).astype(np.uint8))

    return convert


def _decoded_srgb(encoded: Floats) -> Floats:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded_srgb(linear: NDArray[Any]) -> NDArray[Any]:
    clipped = np.clip(linear, 0, 1)
    encoded: NDArray[Any] = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return encoded


def _matrix(chromaticities: tuple[float, ...]) -> Floats | None:
    """Return the matrix from linear light of other primaries to that of sRGB; None if they are impossible."""
    try:
        own, white = _to_xyz(chromaticities)
        srgb, srgb_white = _to_xyz(_SRGB_CHROMATICITIES)
        gains = (_BRADFORD @ srgb_white) / (_BRADFORD @ white)
        matrix = np.linalg.inv(srgb) @ np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ own
    except (ZeroDivisionError, np.linalg.LinAlgError):
        return None
    return matrix if np.isfinite(matrix).all() and np.abs(matrix).max() < 100 else None


def _to_xyz(chromaticities: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return the matrix from linear light to CIE XYZ, and the XYZ of white."""
    columns = [(x / y, 1.0, (1 - x - y) / y) for x, y in zip(chromaticities[::2], chromaticities[1::2], strict=True)]
    white, primaries = np.array(columns[0]), np.array(columns[1:]).T
    return primaries * np.linalg.solve(primaries, white), white
