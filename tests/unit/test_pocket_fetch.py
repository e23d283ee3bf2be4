import io
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from training.pocket import fetch, packages
from training.pocket.sources import SHEET, Selection, sources, split_of, stem_of

RULES = {
    "photos": {"take": ["photos/*.jpg"], "drop": ["drawing*"]},
    "stamps": {"take": ["stamps/*.png"]},
    "textures/train": {"wood": ["oak.png", "trees/oak?.png"]},
    "textures/judge": {"water": ["pond.pat"]},
}


def png(size: tuple[int, int] = (200, 160), color: object = "red", mode: str = "RGB", kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, kind)
    return file.getvalue()


def tree_of(files: dict[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def qt_resource(name: str, content: bytes) -> bytes:
    """One folder `pics` with one file, deflated, as Qt's rcc lays it out (version 2)."""
    packed = struct.pack(">I", len(content)) + zlib.compress(content)
    data = struct.pack(">I", len(packed)) + packed
    names = b"".join(struct.pack(">HI", len(n), 0) + n.encode("utf-16-be") for n in ("pics", name))
    second = 6 + 2 * len("pics")
    tree = struct.pack(">IHIIQ", 0, 2, 1, 1, 0)
    tree += struct.pack(">IHIIQ", 0, 2, 1, 2, 0) + struct.pack(">IHIIQ", second, 1, 0, 0, 0)
    return struct.pack(">4sIIII", b"qres", 2, 20, 20 + len(tree), 20 + len(tree) + len(data)) + tree + data + names


def gimp_pattern(width: int, height: int) -> bytes:
    name = b"pond\0"
    return (
        struct.pack(">5I", 24 + len(name), 1, width, height, 3) + b"GPAT" + name + bytes([0, 0, 255]) * width * height
    )


def sorted_files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*.*")}


def test_pictures_are_found_inside_archives_inside_a_package():
    stream = tree_of(
        {
            "usr/photos/cat.jpg": b"cat",
            "usr/readme": b"text",
            "usr/game/data.pk3": zipped({"wood/oak.png": b"oak", "wood/notes": b"text"}),
            "usr/learn/words.rcc": qt_resource("dog.jpg", b"dog"),
        }
    )
    found = dict(packages.pictures_in_tar(stream, lambda name: name.endswith((".jpg", ".png"))))
    assert found == {
        "usr/photos/cat.jpg": b"cat",
        "usr/game/data.pk3/wood/oak.png": b"oak",
        "usr/learn/words.rcc/pics/dog.jpg": b"dog",
    }


def test_every_picture_goes_where_the_rules_say_and_the_rest_nowhere(tmp_path):
    files = {
        "usr/photos/cat.jpg": png(kind="JPEG"),
        "usr/photos/drawing1.jpg": png(kind="JPEG"),
        "usr/photos/tiny.jpg": png((149, 400), kind="JPEG"),
        "usr/stamps/owl.png": png(mode="RGBA", color=(0, 255, 0, 128)),
        "usr/a/oak.png": png((600, 300)),
        "usr/trees/oak1.png": png(),
        "usr/patterns/pond.pat": gimp_pattern(40, 30),
        "usr/other.png": png(),
    }
    written = list(fetch.sort_pictures(files.items(), "forest", Selection(RULES), tmp_path))
    assert [path.name for path in written] == ["cat.jpg"]
    assert sorted_files(tmp_path) == {
        f"photos/{split_of('cat')}/cat.jpg",
        "cut-outs/owl.png",
        "textures/train/wood/forest-a-oak.png",
        "textures/train/wood/forest-trees-oak1.png",
        "textures/judge/water/forest-patterns-pond.png",
    }
    assert Image.open(tmp_path / "textures/train/wood/forest-a-oak.png").size == (256, 128)
    assert Image.open(tmp_path / "textures/judge/water/forest-patterns-pond.png").getpixel((0, 0)) == (0, 0, 255)


def test_a_cutout_is_composited_on_photos_of_its_split_repeatedly(tmp_path):
    def fill() -> bytes:
        plain = {"sea": "blue", "hill": "green", "coffee": "brown"}
        scenes = [fetch.save_photo(tmp_path, stem, Image.new("RGB", (300, 200), plain[stem])) for stem in plain]
        scenes += fetch.sort_pictures([("stamps/owl.png", png(mode="RGBA"))], "stamps", Selection(RULES), tmp_path)
        fetch.place_stamps(tmp_path, scenes)
        return (tmp_path / "photos" / split_of("owl") / "owl.jpg").read_bytes()

    first = fill()
    assert fill() == first
    assert not (tmp_path / "cut-outs").exists()


def test_the_split_hangs_on_the_name_alone_and_keeps_the_sheet_for_testing():
    names = [f"photo-{i}" for i in range(1000)]
    share = sum(split_of(name) == "test" for name in names) / len(names)
    assert 0.12 < share < 0.18
    assert [split_of(name) for name in names] == [split_of(name) for name in names]
    assert {split_of(stem) for stem in SHEET} == {"test"}
    assert stem_of("usr/share/wallpapers/Path/contents/images/2560x1600.jpg") == "path"


def test_training_and_judging_share_no_package():
    for name, rules in sources().items():
        learns = {"photos", "stamps", "textures/train"} & rules.keys()
        assert bool(learns) != ("textures/judge" in rules), name


def test_the_card_names_every_package_with_version_and_license():
    card = (Path(__file__).parents[2] / "docs" / "pocket-data.md").read_text()
    for name, rules in sources().items():
        assert f"| `{name}` | {rules['version']} | {rules['license']} |" in card


def test_without_apt_the_error_explains_where_to_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.PackageError, match="run this on Debian"):
        packages.download("forest", tmp_path / "debs")


def test_a_package_that_is_there_is_not_downloaded_again(monkeypatch, tmp_path):
    (tmp_path / "forest_1%3a2.0-1_all.deb").touch()
    monkeypatch.setenv("PATH", "")
    archive = packages.download("forest", tmp_path)
    assert packages.version(archive) == "1:2.0-1"


def test_another_version_is_pointed_out(monkeypatch, tmp_path):
    archive = tmp_path / "mate-backgrounds_9-9_all.deb"
    monkeypatch.setattr(packages, "download", lambda name, folder: archive)
    monkeypatch.setattr(fetch, "bundled_photos", lambda: iter(()))
    monkeypatch.setattr(packages, "pictures", lambda archive, wanted: iter(()))
    console = Console(file=io.StringIO(), width=200)
    fetch.fetch(["mate-backgrounds"], tmp_path, tmp_path, console)
    assert "mate-backgrounds is 9-9" in console.file.getvalue()


def test_a_broken_qt_resource_is_refused():
    with pytest.raises(packages.PackageError, match="not a Qt resource"):
        list(packages.qt_resources(b"nope" + bytes(16)))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "forest_1_all.deb"
    archive.write_bytes(b"half a download")
    with pytest.raises(packages.PackageError, match=r"forest_1_all.deb cannot be read: delete it"):
        list(packages.pictures(archive, lambda _: True))
