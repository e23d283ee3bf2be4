"""Photos of phones are read, other kinds are refused by their names, and almost complete ones are read."""

from __future__ import annotations

import importlib.util
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipstyler.imaging import ImageError, Limits, decode, decode_fitted, read_header, shrink

IMAGES = Path(__file__).parents[1] / "images"
PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
RAMP = np.stack(np.broadcast_arrays(*np.ogrid[0:255:48j, 0:255:64j], 99), axis=-1)[..., [1, 0, 2]]


def file_of(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def boxed(brand: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(body) + 4) + body + bytes(64)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avif_is_read(mode: str) -> None:
    data = file_of(Image.fromarray(RAMP.astype(np.uint8)).convert(mode), "AVIF", quality=90, speed=10)
    assert read_header(data).format == "AVIF"
    assert (read_header(data).width, read_header(data).height) == (64, 48)
    assert np.abs(decode(data).rgb - RAMP).mean() < 4


def test_a_turned_avif_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(Image.fromarray(RAMP.astype(np.uint8)), "AVIF", speed=10, exif=exif)
    assert (read_header(data).width, read_header(data).height) == (48, 64)
    assert np.abs(decode(data).rgb - np.rot90(RAMP, -1)).mean() < 5


def test_heic_is_read_upright_and_with_alpha() -> None:
    assert read_header((IMAGES / "heic_ramp.heic").read_bytes()).format == "HEIC"
    assert np.abs(decode((IMAGES / "heic_ramp.heic").read_bytes()).rgb - RAMP).mean() < 4
    turned = (IMAGES / "heic_turned.heic").read_bytes()
    assert (read_header(turned).width, read_header(turned).height) == (48, 64)
    assert np.abs(decode(turned).rgb - np.rot90(RAMP, -1)).mean() < 4
    alpha = decode((IMAGES / "heic_alpha.heic").read_bytes()).alpha
    assert alpha is not None
    assert alpha[0].max() < 20
    assert alpha[-1].min() > 230


def test_the_colors_of_a_heic_without_a_profile_are_honored() -> None:
    plain = decode((IMAGES / "heic_ramp.heic").read_bytes()).rgb[5, 60].astype(int)
    wide = decode((IMAGES / "heic_display_p3.heic").read_bytes()).rgb[5, 60].astype(int)
    assert wide[0] > plain[0] + 8
    with pytest.raises(ImageError, match="HDR encoding PQ is not supported"):
        decode((IMAGES / "heic_pq.heic").read_bytes())


def test_heic_is_refused_by_name_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ImageError, match=r"HEIC photo, which needs the package pi-heif: install it"):
        read_header((IMAGES / "heic_ramp.heic").read_bytes())


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!-- drawn --><SVG/>", "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\xff\x4f\xff\x51\0\x2f", "a JPEG 2000 image"),
        (boxed(b"isom", b"mp41"), "a video"),
        (boxed(b"qt  "), "a video"),
        (boxed(b"crx "), "a raw camera file"),
        (boxed(b"mif1", b"unkn"), "a HEIF image of an unknown encoding"),
        (b"\x1a\x45\xdf\xa3", "a video"),
        (b"FUJIFILMCCD-RAW 0201", "a raw camera file"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(12), "a raw camera file"),
        (b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 50706, 1, 4, 1) + bytes(4), "a raw camera file"),
        (b"RIFF\0\0\0\0AVI ", "a video"),
        (b"PK\3\4", "a ZIP archive"),
        (
            file_of(Image.new("L", (8, 8)), "JPEG").replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
            "a JPEG that is 12-bit",
        ),
        (
            file_of(Image.new("L", (8, 8)), "JPEG").replace(b"\xff\xc0\0\x0b", b"\xff\xc3\0\x0b"),
            "a JPEG that is lossless",
        ),
    ],
)
def test_kinds_that_cannot_be_read_are_refused_by_name(data: bytes, name: str) -> None:
    for reader in (read_header, decode):
        with pytest.raises(ImageError, match=rf"{name}.* is not supported: save it as"):
            reader(data)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_lacks_only_its_end_is_read_with_a_warning(mode: str, progressive: bool) -> None:
    whole = file_of(Image.open(PHOTO).convert(mode), "JPEG", quality=90, progressive=progressive)
    expected = decode(whole)
    assert expected.warnings == read_header(whole).warnings == ()
    for missing in (1, 2, 40):
        data = whole[:-missing]
        picture = decode(data)
        assert read_header(data).warnings == picture.warnings
        assert "ends before its end marker" in picture.warnings[0]
        assert shrink(picture, 64).warnings == decode_fitted(data, 64).warnings == picture.warnings
        assert np.array_equal(picture.rgb[:-32], expected.rgb[:-32])
    assert np.array_equal(decode(whole[:-2]).rgb, expected.rgb)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_a_jpeg_that_lacks_more_is_refused(share: float, progressive: bool) -> None:
    data = file_of(Image.open(PHOTO), "JPEG", quality=90, progressive=progressive)
    with pytest.raises(ImageError, match=r"is truncated: about .* of its rows are missing; send a complete file"):
        decode(data[: int(len(data) * share)])


_CONTAINERS = [
    file_of(Image.fromarray(RAMP.astype(np.uint8)), "AVIF", speed=10),
    *((IMAGES / f"heic_{name}.heic").read_bytes() for name in ("ramp", "turned", "alpha")),
]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(_CONTAINERS),
    st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=6),
    st.integers(0, 1200),
)
def test_damaged_phone_photos_are_decoded_or_refused(whole: bytes, damage: list[tuple[int, int]], end: int) -> None:
    data = bytearray(whole)
    for position, value in damage:
        data[position % len(data)] = value
    limits = Limits(max_pixels=100_000)
    try:
        header = read_header(bytes(data[: end or None]), limits)
        picture = decode(bytes(data[: end or None]), limits)
    except ImageError:
        return
    assert (picture.width, picture.height) == (header.width, header.height)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"II*\0", b"MM\0+", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBPVP8X"]), st.binary()
)
def test_any_bytes_are_decoded_or_refused(magic: bytes, rest: bytes) -> None:
    for reader in (read_header, decode):
        try:
            reader(magic + rest)
        except ImageError:
            continue
