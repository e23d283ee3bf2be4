"""`import clipstyler`: light, one call from a photo to a file, paths checked before work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipstyler
from clipstyler.encoders.base import EncoderUnavailableError
from clipstyler.events import Preview, Progress, Result, Started
from clipstyler.imaging import ImageError, Picture
from clipstyler.options import ConfigError
from clipstyler.photo_cache import PhotoCache

QUICK = {"size": 64, "steps": 3, "patches": 4, "seed": 3}


@pytest.fixture(scope="module")
def encoders():
    return clipstyler.load_encoders("pocket")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_the_import_is_light() -> None:
    code = (
        "import sys, clipstyler\n"
        "assert set(clipstyler.__all__) <= set(dir(clipstyler))\n"
        "print({'torch', 'numpy', 'PIL', 'grpc', 'onnxruntime'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_names_are_listed_before_anything_heavy_is_imported() -> None:
    code = "import sys, clipstyler; print(clipstyler.available_encoders()); sys.exit('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("['pocket'")


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".webp"])
def test_one_call_from_a_photo_to_a_file(photo: Path, encoders, suffix: str) -> None:
    target = photo.with_name(f"fire{suffix}")
    assert clipstyler.stylize(str(photo), "fire", encoders=encoders, **QUICK).save(target) == target
    assert Image.open(target).size == (64, 48)


def test_iterating_gives_the_events_and_the_result_comes_once(photo: Path, encoders) -> None:
    stylization = clipstyler.stylize(photo.read_bytes(), "fire", encoders=encoders, preview_every=2, **QUICK)
    events = list(stylization)
    assert isinstance(events[0], Started)
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert [event.step for event in events if isinstance(event, Preview)] == [0, 2]
    assert isinstance(events[-1], Result)
    assert stylization.result() is events[-1]


def test_a_path_bytes_and_a_picture_give_the_same_bytes(photo: Path, encoders) -> None:
    from clipstyler.imaging import decode

    forms = [photo, str(photo), photo.read_bytes(), decode(photo.read_bytes())]
    images = [clipstyler.stylize(form, "fire", encoders=encoders, **QUICK).result().image for form in forms]
    assert all(np.array_equal(image.rgb, images[0].rgb) for image in images)


def test_every_bad_option_is_named_before_any_work() -> None:
    with pytest.raises(ConfigError) as caught:
        clipstyler.stylize("nowhere.jpg", "", size=3, steps=0, wrong=1)
    named = {violation.field.removeprefix("options.") for violation in caught.value.violations}
    assert named == {"photo", "style_text", "size", "steps", "wrong"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("out.gif", "must end in"),
        ("out", "must end in"),
        ("nowhere/out.png", "does not exist"),
        ("photo.jpg", "an input too"),
        ("null.png", "special file"),
        ("x" * 300 + ".png", "too long"),
        ("/proc/out.png", "cannot be written"),
    ],
)
def test_a_path_is_checked_before_the_work(photo: Path, name: str, problem: str) -> None:
    photo.with_name("null.png").symlink_to("/dev/null")
    stylization = clipstyler.stylize(photo, "fire", encoders="pocket", **QUICK)
    with pytest.raises(ConfigError, match=problem):
        stylization.save(photo.parent / name)
    assert stylization._events is None


def test_a_result_that_is_too_long_for_its_encoding_is_refused_before_the_work(photo: Path) -> None:
    Image.new("RGB", (17_000, 8)).save(photo)
    stylization = clipstyler.stylize(photo, "fire", encoders="pocket", **QUICK)
    with pytest.raises(ConfigError, match=r"path: .* 16383 px at most"):
        stylization.save(photo.with_name("fire.webp"))
    assert stylization._events is None


def test_a_directory_is_not_a_path(photo: Path) -> None:
    (photo.parent / "folder.png").mkdir()
    with pytest.raises(ConfigError, match="directory"):
        clipstyler.stylize(photo, "fire", **QUICK).save(photo.parent / "folder.png")


def test_an_unknown_encoder_set_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="unknown"):
        clipstyler.stylize("photo.jpg", "fire", encoders="no-such-set")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'restyle'"):
        clipstyler.restyle  # noqa: B018


def test_everything_wrong_is_named_by_its_parameter_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        clipstyler.stylize(tmp_path / "none.jpg", None, encoders="no-such-set", preview_every=-1, template_set="bad")
    named = {violation.field for violation in caught.value.violations}
    assert named == {"photo", "style_text", "encoders", "preview_every", "template_set"}


PIXELS = np.full((48, 64, 3), 100, np.uint8)


@pytest.mark.parametrize(
    ("photo", "arguments", "names"),
    [
        (None, {"style_text": 5, "size": 1}, {"photo", "style_text", "size"}),
        (PIXELS, {"encoders": None, "steps": 0}, {"photo", "encoders", "steps"}),
        (
            Picture(PIXELS / np.float32(255)),
            {"accelerations": 5, "encoders": "no"},
            {"photo", "accelerations", "encoders"},
        ),
        (None, {"encoders": "x" * 300, "region": 5}, {"photo", "encoders", "region"}),
        (Picture(PIXELS[:0]), {"region": 5}, {"photo", "region"}),
        (Picture(PIXELS[..., 0]), {"region": clipstyler.Region(boxes=5)}, {"photo", "region.boxes"}),
        (Picture(PIXELS, PIXELS), {"region": clipstyler.Region(boxes=None)}, {"photo", "region.boxes"}),
        ("x" * 300, {"region": clipstyler.Region(boxes=[(10**400, 0, 1, 1)])}, {"photo", "region.boxes[0]"}),
        (Picture(PIXELS), {"size": 10**400, "seed": 10**5000, "threshold": 10**400}, {"size", "seed", "threshold"}),
    ],
)
def test_values_of_any_kind_are_named_at_once(photo: object, arguments: dict, names: set[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        clipstyler.stylize(photo, **{"style_text": "fire"} | arguments)
    assert {violation.field for violation in caught.value.violations} == names
    assert len(str(caught.value)) < 1000


def test_a_crop_larger_than_the_photo_is_refused_before_encoders_are_loaded(photo: Path) -> None:
    stylization = clipstyler.stylize(photo, "fire", encoders="vit-b-32", crop_size=60, size=64, steps=1)
    with pytest.raises(ConfigError, match="larger than the image"):
        stylization.result()


@pytest.mark.parametrize("tag", ["x" * 300, "no\0tag"])
def test_no_name_of_weights_is_an_error_of_the_file_system(photo: Path, tag: str) -> None:
    stylization = clipstyler.stylize(photo, "fire", encoders=f"ViT-B-32:{tag}", size=64, steps=1)
    with pytest.raises(EncoderUnavailableError, match="neither a file nor a pretrained tag"):
        stylization.result()


@pytest.mark.parametrize("device", [None, "x" * 300])
def test_a_device_of_any_kind_is_named(photo: Path, device: object) -> None:
    with pytest.raises(ConfigError, match=r"device: .* is unknown"):
        clipstyler.stylize(photo, "fire", device=device, size=64, steps=1).result()


def test_a_stylization_that_failed_tells_why_each_time(tmp_path: Path) -> None:
    stylization = clipstyler.stylize(b"no image", "fire", size=64, steps=1)
    for ask in (stylization.result, lambda: stylization.save(tmp_path / "fire.png")):
        with pytest.raises(ImageError):
            ask()


def test_a_failed_write_leaves_the_older_file(photo: Path, encoders, monkeypatch: pytest.MonkeyPatch) -> None:
    target = photo.with_name("fire.png")
    target.write_bytes(b"older")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    stylization = clipstyler.stylize(photo, "fire", encoders=encoders, **QUICK)
    stylization.result()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        stylization.save(target)
    assert target.read_bytes() == b"older"
    assert sorted(path.name for path in photo.parent.iterdir()) == ["fire.png", "photo.jpg"]


def test_a_result_that_could_not_be_written_is_still_there(photo: Path, encoders) -> None:
    folder = photo.parent / "folder"
    folder.mkdir()
    stylization = clipstyler.stylize(photo, "fire", encoders=encoders, **QUICK)
    save = stylization.result

    def removed() -> Result:
        found = save()
        folder.rmdir()
        return found

    stylization.result = removed
    with pytest.raises(OSError, match="No such file"):
        stylization.save(folder / "fire.png")
    stylization.result = save
    assert stylization.save(photo.with_name("fire.png")).is_file()
    assert stylization.result().image.rgb.shape == (48, 64, 3)


def test_a_symbolic_link_is_written_through(photo: Path, encoders) -> None:
    link = photo.with_name("link.png")
    link.symlink_to("real.png")
    clipstyler.stylize(photo, "fire", encoders=encoders, **QUICK).save(link)
    assert link.is_symlink()
    assert Image.open(photo.with_name("real.png")).size == (64, 48)


def test_a_cache_of_photos_serves_several_texts_and_changes_no_result(photo: Path, encoders) -> None:
    photos = PhotoCache(2**26)
    for text in ("fire", "gold"):
        plain = clipstyler.stylize(photo, text, encoders=encoders, **QUICK).result()
        cached = clipstyler.stylize(photo, text, encoders=encoders, photos=photos, **QUICK).result()
        assert np.array_equal(plain.image.rgb, cached.image.rgb)
    assert photos.size_bytes > 0
