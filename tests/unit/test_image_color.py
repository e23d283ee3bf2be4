"""Colors become sRGB: profiles in every mode, the color tags of a PNG, and metadata that survives conversions."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from clipstyler.imaging import ImageError, decode, decode_fitted

SRGB = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
DISPLAY_P3 = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
BT2020 = (31_270, 32_900, 70_800, 29_200, 17_000, 79_700, 13_100, 4_600)
PATCHES = np.array([[(200, 100, 50), (50, 200, 100), (90, 90, 90), (0, 0, 0), (255, 255, 255)]], np.uint8)
# Display P3 to sRGB in linear light, from the sample code of CSS Color 4.
P3_TO_SRGB = np.array([[1.2249401, -0.2249402, 0], [-0.0420569, 1.0420571, 0], [-0.0196376, -0.0786507, 1.0982884]])


def file_of(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes, image: Image.Image | None = None) -> bytes:
    data = file_of(image or Image.fromarray(PATCHES))
    return data[:33] + b"".join(chunks) + data[33:]


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65_536))


def profile(space: bytes, gamma: float) -> bytes:
    """Make a small ICC profile: gray, or RGB with the primaries of sRGB, of one gamma."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    columns = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]
    bodies = {b"wtpt": white}
    if space == b"GRAY":
        bodies[b"kTRC"] = curve
    else:
        for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
            bodies[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(fixed(value) for value in column)
            bodies[name + b"TRC"] = curve
    at, table, body = 132 + 12 * len(bodies), struct.pack(">I", len(bodies)), b""
    for name, content in bodies.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return header.ljust(128, b"\0") + table + body


def as_srgb(value: float, gamma: float) -> float:
    light = (value / 255) ** gamma
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


def p3_as_srgb(pixels: np.ndarray) -> np.ndarray:
    encoded = pixels / 255
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) @ P3_TO_SRGB.T
    return np.vectorize(as_srgb)(np.clip(light, 0, 1) * 255, 1.0)


P3_IN_SRGB = p3_as_srgb(PATCHES)
LINEAR_GRAY, LINEAR_RGB = profile(b"GRAY", 1.0), profile(b"RGB ", 1.0)


SAVED = {
    "PNG": ({"L", "LA", "RGB", "RGBA", "P"}, {}),
    "TIFF": ({"L", "LA", "RGB", "RGBA", "P"}, {}),
    "JPEG": ({"L", "RGB"}, {"quality": 95}),
    "WEBP": ({"RGB", "RGBA"}, {"lossless": True}),
    "AVIF": ({"RGB", "RGBA"}, {"quality": 95, "speed": 10}),
}


@pytest.mark.parametrize(
    ("image_format", "mode"), [(name, mode) for name, (modes, _) in SAVED.items() for mode in sorted(modes)]
)
def test_a_profile_is_applied_in_every_mode(image_format: str, mode: str) -> None:
    image = Image.new("RGB", (32, 32), (90, 90, 90))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    for icc in (LINEAR_GRAY, LINEAR_RGB) if mode in {"L", "LA"} else (LINEAR_RGB,):
        rgb = decode(file_of(image, image_format, icc_profile=icc, **SAVED[image_format][1])).rgb
        assert np.abs(rgb.astype(int) - as_srgb(90, 1.0)).max() <= 4


@pytest.mark.parametrize("image_format", ["TIFF", "JPEG"])
def test_a_profile_is_applied_to_inks(image_format: str) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    rgb = decode(file_of(image, image_format, icc_profile=ink_profile())).rgb
    assert np.abs(rgb.astype(int) - 119).max() <= 3  # L* 50; without the profile it is cyan


def ink_profile() -> bytes:
    """Make a CMYK profile in which any color of ink gives a gray of L* 50, black ink black, and no ink white."""
    identity = bytes(range(256))
    white, gray, black = (bytes([lightness, 128, 128]) for lightness in (255, 128, 0))
    corners = white + black + (gray + black) * 7
    matrix = b"".join(fixed(value) for value in np.eye(3).ravel())
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + corners + identity * 3
    header = struct.pack(">I4sI4s4s4s", 144 + len(table), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def test_a_profile_is_applied_to_16_bit_grays() -> None:
    image = Image.fromarray(np.full((8, 8), 90 * 257, np.uint16))
    for image_format in ("PNG", "TIFF"):
        rgb = decode(file_of(image, image_format, icc_profile=LINEAR_GRAY)).rgb
        assert np.abs(rgb.astype(int) - as_srgb(90, 1.0)).max() <= 2


@pytest.mark.parametrize(
    "icc", [b"broken", LINEAR_GRAY, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_a_mismatched_profile_is_ignored(mode: str, icc: bytes) -> None:
    image = Image.fromarray(PATCHES).convert(mode)
    image_format = "TIFF" if mode == "CMYK" else "PNG"
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(decode(file_of(image, image_format, icc_profile=icc)).rgb, expected)


def test_orientation_and_profile_survive_the_conversion_of_16_bits() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.full((8, 16), 90 * 257, np.uint16)
    for image_format in ("PNG", "TIFF"):
        picture = decode(file_of(Image.fromarray(pixels), image_format, exif=exif, icc_profile=LINEAR_GRAY))
        assert (picture.width, picture.height) == (8, 16)
        assert abs(int(picture.rgb[0, 0, 0]) - as_srgb(90, 1.0)) <= 2


def test_the_primaries_of_display_p3_are_converted() -> None:
    for tags in (
        [chunk(b"cICP", bytes([12, 13, 0, 1]))],
        [chunk(b"cHRM", struct.pack(">8I", *DISPLAY_P3)), chunk(b"gAMA", struct.pack(">I", 45_455))],
        [chunk(b"cHRM", struct.pack(">8I", *DISPLAY_P3))],
    ):
        data = png_with(*tags)
        assert np.abs(decode(data).rgb.astype(int) - P3_IN_SRGB).max() <= 1
        with_alpha = png_with(*tags, image=Image.fromarray(PATCHES).convert("RGBA"))
        assert np.abs(decode(with_alpha).rgb.astype(int) - P3_IN_SRGB).max() <= 1


def test_the_primaries_of_bt2020_are_converted_and_white_stays_white() -> None:
    one = decode(png_with(chunk(b"cICP", bytes([9, 13, 0, 1])))).rgb.astype(int)
    other = decode(png_with(chunk(b"cHRM", struct.pack(">8I", *BT2020)))).rgb.astype(int)
    assert np.abs(one - other).max() <= 1
    assert one[0, 2:].tolist() == PATCHES[0, 2:].tolist()
    assert one[0, 0, 0] > 200


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_gamma_is_honored(mode: str) -> None:
    gray = Image.new("L", (4, 4), 90).convert(mode)
    rgb = decode(png_with(chunk(b"gAMA", struct.pack(">I", 100_000)), image=gray)).rgb
    assert np.abs(rgb.astype(int) - as_srgb(90, 1.0)).max() <= 1


@pytest.mark.parametrize(
    "tags",
    [
        [],
        [chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100_000))],
        [chunk(b"gAMA", struct.pack(">I", 45_455)), chunk(b"cHRM", struct.pack(">8I", *SRGB))],
        [chunk(b"cICP", bytes([1, 13, 0, 1]))],
        [chunk(b"cICP", bytes([200, 13, 0, 1]))],
        [chunk(b"cICP", b"")],
        [chunk(b"gAMA", b"\0\0\0\0")],
        [chunk(b"gAMA", b"\1")],
        [chunk(b"cHRM", bytes(32))],
        [chunk(b"cHRM", struct.pack(">8I", *[30_000] * 8))],
        [chunk(b"cHRM", b"\xff" * 32)],
        [chunk(b"iCCP", b"no zero")],
    ],
)
def test_tags_that_say_srgb_or_nonsense_change_nothing(tags: list[bytes]) -> None:
    assert np.array_equal(decode(png_with(*tags)).rgb, PATCHES)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_an_hdr_png_is_refused_by_name_unless_it_holds_a_profile(transfer: int, name: str) -> None:
    code = chunk(b"cICP", bytes([9, transfer, 0, 1]))
    with pytest.raises(ImageError, match=f"HDR encoding {name} is not supported: save it"):
        decode(png_with(code))
    icc = chunk(b"iCCP", b"linear\0\0" + zlib.compress(LINEAR_RGB))
    assert np.abs(decode(png_with(code, icc)).rgb[0, 2].astype(int) - as_srgb(90, 1.0)).max() <= 2


def test_the_code_points_come_before_the_profile() -> None:
    icc = chunk(b"iCCP", b"linear\0\0" + zlib.compress(LINEAR_RGB))
    data = png_with(icc, chunk(b"cICP", bytes([12, 13, 0, 1])))
    assert np.abs(decode(data).rgb.astype(int) - P3_IN_SRGB).max() <= 1


def test_a_reduced_picture_has_the_same_colors() -> None:
    image = Image.fromarray(np.repeat(np.repeat(PATCHES[:, :1], 100, axis=0), 100, axis=1))
    data = png_with(chunk(b"cICP", bytes([12, 13, 0, 1])), image=image)
    assert np.abs(decode_fitted(data, 10).rgb.astype(int) - P3_IN_SRGB[0, 0]).max() <= 1
