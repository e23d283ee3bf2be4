"""Images in and out: limits before decoding, every kind of pixel, and errors that say what to do."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from clipstyler.imaging import (
    ImageError,
    ImageFormat,
    Limits,
    Picture,
    decode,
    encode,
    fit,
    fitted_size,
    read_header,
    shrink,
)

GRADIENT = np.stack(np.broadcast_arrays(*np.ogrid[0:200:40j, 0:200:60j], 99), axis=-1).astype(np.uint8)


def file_of(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Make a PNG of nothing but an IHDR that announces a size, and an empty IDAT."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", b"")


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_readable_format_is_read(image_format: str) -> None:
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = file_of(Image.fromarray(GRADIENT), image_format, **options)
    assert read_header(data) == read_header(data)
    assert (read_header(data).width, read_header(data).height) == (60, 40)
    error = np.abs(decode(data).rgb.astype(int) - GRADIENT).mean()
    assert error < {"JPEG": 5, "GIF": 12}.get(image_format, 0.01)


def test_16_bit_gray_keeps_its_range() -> None:
    ramp = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    rgb = decode(file_of(Image.fromarray(ramp))).rgb
    assert (rgb.min(), rgb.max()) == (0, 255)
    assert np.array_equal(rgb[..., 0], rgb[..., 2])


def test_float_gray_keeps_its_range() -> None:
    ramp = np.linspace(0, 1, 256).reshape(16, 16).astype(np.float32)
    rgb = decode(file_of(Image.fromarray(ramp), "TIFF")).rgb
    assert (rgb.min(), rgb.max()) == (0, 255)


def test_a_palette_with_transparency_gives_alpha() -> None:
    image = Image.fromarray(GRADIENT).convert("P")
    picture = decode(file_of(image, transparency=int(np.asarray(image)[0, 0])))
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 0
    assert picture.rgb[0, 0].tolist() == [255, 255, 255]


def test_alpha_is_composited_on_white_and_kept() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:, 2:, 3] = 255
    rgba[:, 1, 3] = 128
    picture = decode(file_of(Image.fromarray(rgba)))
    assert picture.rgb[0, :, 0].tolist() == [255, 127, 0, 0]
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [0, 128, 255, 255]


def test_an_opaque_alpha_channel_is_no_alpha() -> None:
    assert decode(file_of(Image.fromarray(GRADIENT).convert("RGBA"))).alpha is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(orientation: int) -> None:
    upright = Image.fromarray(GRADIENT)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(stored, "JPEG", exif=exif, quality=95)
    assert (read_header(data).width, read_header(data).height) == (60, 40)
    assert np.abs(decode(data).rgb.astype(int) - GRADIENT).mean() < 4


def test_an_embedded_profile_is_converted_to_srgb() -> None:
    lab = ImageCms.createProfile("LAB")
    xyz = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode(file_of(Image.fromarray(GRADIENT), icc_profile=xyz)).rgb
    assert np.abs(same.astype(int) - GRADIENT).max() <= 1
    mismatched = ImageCms.ImageCmsProfile(lab).tobytes()
    assert np.array_equal(decode(file_of(Image.fromarray(GRADIENT), icc_profile=mismatched)).rgb, GRADIENT)
    assert np.array_equal(decode(file_of(Image.fromarray(GRADIENT), icc_profile=b"broken")).rgb, GRADIENT)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).rgb[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("reader", [read_header, decode])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no image at all", "no readable image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing"),
        (png_header(30_000, 30_000), "more (pixels )?than the limit of"),
        (png_header(10_000, 10_000), "10000 x 10000 px, more than the limit of 64000000 px"),
        (png_header(0, 10), "no readable PNG image"),
    ],
)
def test_bad_bytes_are_refused_with_a_reason(reader: object, data: bytes, message: str) -> None:
    assert callable(reader)
    with pytest.raises(ImageError, match=message):
        reader(data)


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(ImageError, match="has 100 bytes, more than the limit of 99"):
        read_header(b"x" * 100, Limits(max_bytes=99))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_truncated_file_is_refused_when_decoded(image_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise), image_format)
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=20))
def test_damaged_files_are_decoded_or_refused_but_never_crash(kind: int, damage: list[tuple[int, int]]) -> None:
    data = bytearray(file_of(Image.fromarray(GRADIENT), ("PNG", "JPEG", "WEBP", "GIF")[kind]))
    for position, value in damage:
        data[position % len(data)] = value
    try:
        header = read_header(bytes(data), Limits(max_pixels=1_000_000))
        picture = decode(bytes(data), Limits(max_pixels=1_000_000))
    except ImageError:
        return
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.shape[2] == 3
    assert {picture.width, picture.height} == {header.width, header.height}


def test_reading_a_header_decodes_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_image: Image.Image) -> None:
        raise AssertionError("decoded")

    for image_format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        data = file_of(Image.fromarray(GRADIENT), image_format)
        with monkeypatch.context() as patch:
            patch.setattr("PIL.ImageFile.ImageFile.load", load)
            assert read_header(data).width == 60


@pytest.mark.parametrize(
    ("size", "target", "enlarge", "expected"),
    [
        ((512, 384), 256, False, (256, 192)),
        ((100, 50), 256, False, (100, 50)),
        ((100, 50), 256, True, (256, 128)),
        ((1000, 3), 100, False, (100, 1)),
        ((333, 500), 64, False, (43, 64)),
    ],
)
def test_fitting_keeps_the_aspect(size: tuple[int, int], target: int, enlarge: bool, expected: tuple[int, int]) -> None:
    assert fitted_size(*size, target, enlarge) == expected
    picture = fit(Picture(np.zeros((size[1], size[0], 3), np.uint8)), target, enlarge)
    assert (picture.width, picture.height) == expected


def test_shrinking_never_enlarges() -> None:
    picture = Picture(GRADIENT)
    assert shrink(picture, 1000) is picture
    assert (shrink(picture, 30).width, shrink(picture, 30).height) == (30, 20)


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_encoding_is_repeatable_and_keeps_alpha_where_it_can(image_format: ImageFormat) -> None:
    alpha = np.full(GRADIENT.shape[:2], 200, np.uint8)
    picture = Picture(GRADIENT, alpha)
    data = encode(picture, image_format)
    assert data == encode(picture, image_format)
    back = Image.open(io.BytesIO(data))
    assert str(back.format).lower() == image_format
    assert back.has_transparency_data == (image_format is not ImageFormat.JPEG)


@pytest.mark.parametrize(("image_format", "longest"), [(ImageFormat.WEBP, 16_383), (ImageFormat.JPEG, 65_500)])
def test_an_encoding_refuses_a_side_that_it_has_not(image_format: ImageFormat, longest: int) -> None:
    encode(Picture(np.zeros((1, longest, 3), np.uint8)), image_format)
    with pytest.raises(ImageError, match=f"{longest} px at most: choose png"):
        encode(Picture(np.zeros((longest + 1, 1, 3), np.uint8)), image_format)


def test_a_png_comes_back_exactly() -> None:
    assert np.array_equal(decode(encode(Picture(GRADIENT), ImageFormat.PNG)).rgb, GRADIENT)


def test_every_color_comes_back_under_every_alpha_if_a_file_can_say_it() -> None:
    alpha, color = (values.astype(np.uint8) for values in np.mgrid[:256, :256])
    picture = Picture(np.dstack([color] * 3), alpha)
    back = decode(encode(picture, ImageFormat.PNG))
    assert np.array_equal(back.alpha, alpha)
    darkest = 255 - alpha  # black on white
    assert np.array_equal(back.rgb[..., 0], np.maximum(color, darkest))


def test_no_photo_changes_by_being_read_and_written() -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (600, 900, 4), np.uint8)
    picture = decode(file_of(Image.fromarray(rgba)))
    assert np.array_equal(decode(encode(picture, ImageFormat.PNG)).rgb, picture.rgb)


def test_the_module_needs_no_torch() -> None:
    sources = (Path(__file__).parents[2] / "clipstyler" / "imaging").rglob("*.py")
    assert not [source for source in sources if "import torch" in source.read_text()]
