"""Contact sheets and animations: the photo is shown as the stylization sees it, in both installs."""

from __future__ import annotations

import io
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clipstyler_cli import artifacts
from clipstyler_cli.artifacts import Artifacts, sheet_of
from clipstyler_cli.files import Delivery
from clipstyler_cli.pixels import opened
from clipstyler_client import PreviewOptions, Spec, StylizeOptions
from clipstyler_client import Result as Outcome
from PIL import Image, ImageCms, ImageSequence

from clipstyler.imaging import decode
from clipstyler.output_files import Output
from tests.clients.scripted_server import picture

RAMP = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))


@pytest.fixture(params=["whole", "light"])
def install(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both installs; the light one has no library decoder."""
    if request.param == "light":
        monkeypatch.setitem(sys.modules, "clipstyler.imaging", None)
    return str(request.param)


def saved(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def photos() -> dict[str, bytes]:
    eight = (RAMP / 257).round().astype(np.uint8)
    color = Image.fromarray(np.stack([eight, eight[:, ::-1], eight // 2], axis=-1))
    translucent = color.copy()
    translucent.putalpha(Image.fromarray(eight))
    turned = Image.Exif()
    turned[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "16-bit gray": saved(Image.fromarray(RAMP)),
        "16-bit gray TIFF": saved(Image.fromarray(RAMP), "TIFF"),
        "gray": saved(Image.fromarray(eight)),
        "color": saved(color, "WEBP", lossless=True),
        "palette": saved(color.quantize(16), "GIF"),
        "translucent": saved(translucent),
        "16-bit gray turned": saved(Image.fromarray(RAMP), "TIFF", tiffinfo={0x0112: 6}),
        "turned": saved(color, "JPEG", exif=turned),
        "print": saved(color.convert("CMYK"), "JPEG"),
        "profile": saved(color, icc_profile=profile),
        "broken profile": saved(color, icc_profile=b"none"),
    }


@pytest.mark.parametrize(("name", "photo"), photos().items(), ids=photos())
def test_a_photo_is_shown_as_the_library_decodes_it(name: str, photo: bytes, install: str) -> None:
    image = opened(photo)
    assert image is not None
    assert np.abs(np.asarray(image).astype(int) - decode(photo).rgb).max() <= 1


def result() -> Outcome:
    spec = Spec("a\nramp", "a Photo", StylizeOptions(), PreviewOptions(), "png")
    values = dict.fromkeys(Outcome.__dataclass_fields__)
    return Outcome(**values | {"image": picture("orange"), "spec": spec})


def test_the_tile_and_the_first_frame_of_a_16_bit_photo_are_not_white(tmp_path: Path, install: str) -> None:
    artifacts, photo = Artifacts(Delivery()), photos()["16-bit gray"]
    artifacts.write_contact_sheet(Output("contact_sheet", tmp_path / "sheet.png"), photo, result())
    artifacts.write_animation(Output("animation", tmp_path / "run.webp"), photo, result())
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L")).astype(int)
    row = sheet[44 + 8 + 90, 16 + 2 : 16 + 256 - 2]
    assert (row[0] < 8, row[-1] > 247) == (True, True)
    assert np.abs(row - np.linspace(row[0], row[-1], len(row))).max() < 6
    with Image.open(tmp_path / "run.webp") as frames:
        first = np.asarray(next(ImageSequence.Iterator(frames)).convert("L")).astype(int)
    assert first[:, 0].mean() < 16
    assert first[:, -1].mean() > 239


def test_a_photo_that_cannot_be_shown_loses_no_artifact(tmp_path: Path, install: str) -> None:
    artifacts = Artifacts(Delivery())
    artifacts.write_contact_sheet(Output("contact_sheet", tmp_path / "sheet.png"), b"HEIC", result())
    artifacts.write_animation(Output("animation", tmp_path / "run.gif"), b"HEIC", result())
    assert Image.open(tmp_path / "sheet.png").getpixel((20, 60)) == (0xE5, 0xE5, 0xEA)
    assert Image.open(tmp_path / "run.gif").n_frames == 1


def test_a_light_install_shows_no_wrong_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clipstyler.imaging", None)
    floats = Image.fromarray((RAMP / 65535).astype(np.float32))
    assert opened(saved(floats, "TIFF")) is None
    assert opened(saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF")) is None
    assert opened(saved(Image.fromarray(RAMP), transparency=0)) is None
    white_is_zero = saved(Image.fromarray(RAMP), "TIFF").replace(
        b"\x06\x01\x03\x00\x01\x00\x00\x00\x01", b"\x06\x01\x03\x00\x01\x00\x00\x00\x00"
    )
    negative = opened(white_is_zero)
    assert negative is not None
    assert np.abs(np.asarray(negative)[..., 0] - (255 - RAMP / 257)).max() <= 1


def test_a_sheet_holds_one_image_at_a_time_at_its_size_and_no_caption_reaches_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive: list[weakref.ref[Image.Image]] = []

    def counted(data: bytes) -> Image.Image | None:
        image = opened(data)
        assert image
        alive.append(weakref.ref(image))
        return image

    monkeypatch.setattr(artifacts, "opened", counted)
    data = saved(Image.new("RGB", (300, 300)))

    def images() -> Iterator[tuple[str, bytes]]:
        for caption in ("a name that is much longer than its tile is wide.png", "", "c"):
            assert sum(image() is not None for image in alive) <= 1
            yield caption, data

    sheet = np.asarray(Image.open(io.BytesIO(sheet_of("sheet", images()))))
    assert len(alive) == 3
    captions = sheet[44 + 8 + 256 :, :]
    assert (captions[:, 16 : 16 + 256] != 255).any()
    assert (captions[:, 16 + 256 : 16 + 2 * (256 + 16)] == 255).all()


@pytest.mark.parametrize("size", [(1, 1000), (2000, 1)])
def test_however_narrow_an_image_is_its_tile_shows_it(size: tuple[int, int]) -> None:
    sheet = np.asarray(Image.open(io.BytesIO(sheet_of("sheet", [("line", saved(Image.new("RGB", size, "red")))]))))
    assert (sheet == (255, 0, 0)).all(axis=-1).sum() == 256
