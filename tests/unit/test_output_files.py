"""Output files: everything that cannot be written is found before any work, and nothing is replaced by mistake."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from clipstyler.options import ConfigError
from clipstyler.output_files import Output, check_outputs, write_whole

SUFFIXES = (".png", ".webp")


def problems(*files: Path, **others: object) -> str:
    try:
        check_outputs([Output(f"file{number}", path, SUFFIXES) for number, path in enumerate(files)], **others)
    except ConfigError as error:
        return str(error)
    return ""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    files = [tmp_path / "new.png", tmp_path / "old.png", tmp_path / "a/b/inside.png"]
    assert problems(*files, directories=[Output("previews", tmp_path / "a/b")]) == ""
    assert names(tmp_path) == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("out.gif", "must end in one of .png, .webp"),
        ("folder.png", "is a directory"),
        ("nowhere/out.png", "does not exist"),
        ("file/out.png", "does not exist"),
        ("x" * 252 + ".png", "File name too long"),
        ("a\0b.png", "null byte"),
        ("loop.png", "symbolic links"),
        ("fifo.png", "is a special file"),
        ("null.png", "is a special file"),
        ("dangling.png", "the directory {directory}/gone does not exist"),
        ("photo.png", "is an input too"),
        ("link-to-photo.png", "is an input too"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "folder.png").mkdir()
    for file in ("file", "photo.png"):
        (tmp_path / file).write_bytes(b"")
    os.mkfifo(tmp_path / "fifo.png")
    links = {"loop": "loop.png", "null": "/dev/null", "dangling": "gone/x.png", "link-to-photo": "photo.png"}
    for link, target in links.items():
        (tmp_path / f"{link}.png").symlink_to(target)
    before = names(tmp_path)
    assert problem.replace("{directory}", str(tmp_path)) in problems(tmp_path / name, inputs=[tmp_path / "photo.png"])
    assert names(tmp_path) == before


def test_a_directory_that_refuses_new_files_is_named_for_root_too() -> None:
    assert "cannot be written" in problems(Path("/proc/out.png"))
    assert "cannot be written" in problems(directories=[Output("previews", Path("/proc/previews"))])


def test_outputs_are_different_files(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to("new.png")
    for pair in (("new.png", "new.png"), ("new.png", "here/new.png"), ("new.png", "link.png"), ("link.png", "new.png")):
        assert "file1: " in problems(*(tmp_path / name for name in pair))
        assert "another output" in problems(*(tmp_path / name for name in pair))
    assert problems(tmp_path / "one.png", tmp_path / "two.png") == ""


def test_names_are_the_same_file_if_the_file_system_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def folded(path: Path, **options: Any) -> os.stat_result:
        return real(path.with_name(path.name.lower()), **options)

    (tmp_path / "out.png").write_bytes(b"")
    (tmp_path / "Out.png").write_bytes(b"")
    monkeypatch.setattr(Path, "stat", folded)
    assert "another output" in problems(tmp_path / "out.png", tmp_path / "Out.png")


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path / "a.gif", tmp_path, directories=[Output("previews", Path(__file__))])
    assert "previews: " in found
    assert "file0: 'a.gif' must end in" in found
    assert "file1: " in found


def test_a_directory_that_cannot_be_is_named_once_and_not_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files = [Output("out", tmp_path / "file" / f"{number}.png") for number in range(3)]
    with pytest.raises(ConfigError) as refused:
        check_outputs(files, directories=[Output("out_dir", tmp_path / "file")])
    assert [violation.field for violation in refused.value.violations] == ["out_dir"]


def test_a_symbolic_link_is_written_through_and_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to("elsewhere/real.png")
    assert problems(link) == ""
    write_whole(link, b"image")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere/real.png").read_bytes() == b"image"
    assert names(tmp_path) == ["elsewhere", "link.png"]


def test_permissions_of_a_file_are_kept_and_new_files_follow_the_umask(tmp_path: Path) -> None:
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(b"old")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        write_whole(old, b"")
        write_whole(new, b"")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o640, 0o640]


@pytest.mark.parametrize("special", ["/dev/null", "fifo", "folder"])
def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path, special: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    path = tmp_path / special
    kind = stat.S_IFMT(path.stat().st_mode)
    with pytest.raises(OSError, match="not a regular file"):
        write_whole(path, b"image")
    assert stat.S_IFMT(path.stat().st_mode) == kind


def test_a_name_of_full_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    assert problems(path) == ""
    write_whole(path, b"image")
    assert names(tmp_path) == [path.name]


def test_a_missing_working_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the working directory no longer exists" in problems(Path("out.png"))
    assert problems(tmp_path / "out.png") == ""
