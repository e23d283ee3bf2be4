"""The command's outputs: checked before any work, and a finished result is never lost."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import grpc
import pytest
from clipstyler_cli import demo
from clipstyler_cli.main import app
from clipstyler_client import JobImage
from typer.testing import CliRunner, Result

from clipstyler.encoders import registry
from tests.clients.scripted_server import Event, ScriptedServer, ordinary, picture, serving


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "photo.png"], "--out: 'photo.png' is an input too"),
        (["-o", "folder.png"], "--out: 'folder.png' is a directory"),
        (["-o", "null.png"], "--out: 'null.png' is a special file"),
        (["-o", "/proc/out.png"], "--out: '/proc/out.png' cannot be written"),
        (["-o", "x" * 300 + ".png"], "File name too long"),
        (["-o", "out.webp", "--animation", "out.webp"], "--animation: 'out.webp' is another output too"),
        (["-o", "out.png", "--contact-sheet", "link.png"], "--contact-sheet: 'link.png' is another output too"),
        (["-o", "out.png", "--animation", "nowhere/run.gif"], "--animation: the directory nowhere does not exist"),
        (["-o", "out.png", "--previews", "photo.png"], "--previews: photo.png is a file"),
        (["-o", "out.png", "--previews", "/proc/previews"], "--previews: '/proc/previews' cannot be written"),
        (["-o", "steps/step-0005.png", "--previews", "steps"], "a preview may overwrite steps/step-0005.png"),
    ],
)
def test_outputs_of_stylize_are_checked_before_any_work(
    server: ScriptedServer, photo: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    for directory in ("folder.png", "steps"):
        Path(directory).mkdir()
    Path("null.png").symlink_to("/dev/null")
    Path("link.png").symlink_to("out.png")
    before = sorted(Path().iterdir())
    outcome = call("stylize", photo, "fire", "--server", server.target, *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert server.requests == []
    assert sorted(Path().iterdir()) == before
    assert photo.read_bytes() == picture("gray", (120, 80))


@pytest.mark.parametrize("words", [["watch", "1", "-o", "folder.png"], ["download", "1", "-o", "folder.png"]])
def test_outputs_of_jobs_are_checked_before_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    outcome = call("jobs", *words, "--server", "127.0.0.1:1")
    assert outcome.exit_code == 2
    assert "--out: 'folder.png' is a directory" in outcome.stderr


def test_the_directory_of_an_export_is_checked_before_encoders_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / "file").touch()
    for out, message in (
        (tmp_path / "file", "is a file"),
        ("/proc/export", "cannot be written"),
        (tmp_path, "is neither empty nor an export"),
    ):
        outcome = call("models", "export", "pocket", "--out", out)
        assert outcome.exit_code == 2
        assert message in outcome.stderr


def test_outputs_of_the_demo_are_checked_before_a_server_is_started(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "running_server", lambda *_: pytest.fail("started"))
    shutil.copy(photo, photo.with_name("demo.png"))
    outcome = call("demo", "--photo", photo.with_name("demo.png"), "--out-dir", photo.parent)
    assert outcome.exit_code == 2
    assert "is an input too" in outcome.stderr
    assert f"--out-dir: {photo} is a file" in call("demo", "--photo", photo, "--out-dir", photo).stderr


def test_the_demo_prints_where_its_files_are(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "end_by", lambda _: None)
    out = tmp_path / "out"

    def failing(request: object, context: object) -> Iterator[Event]:
        (out / "demo-contact-sheet.png").mkdir()  # the file itself cannot be written any more
        yield from ordinary(request, context)

    with serving(failing) as server:
        monkeypatch.setattr(demo, "running_server", lambda *_: nullcontext(server))
        outcome = call("demo", "--photo", photo, "--out-dir", out)
    assert outcome.exit_code == 1
    printed = [Path(line.strip()) for line in outcome.stderr.splitlines() if line.startswith("  ")]
    assert [path.suffix for path in printed] == [".png", ".png", ".gif", ".json"]
    assert all(path.is_file() for path in printed)


def test_an_export_that_differs_from_pytorch_is_a_failure_and_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipstyler import style_export
    from clipstyler.encoders.onnx import parity

    monkeypatch.setattr(style_export, "largest_difference", lambda *_: math.nan)
    monkeypatch.setattr(parity.Parity, "holds", False)
    for words in (("styles", "fire", "-o", tmp_path / "fire.onnx"), ("models", "pocket", "--out", tmp_path / "pocket")):
        outcome = call(words[0], "export", *words[1:])
        assert outcome.exit_code == 1
        assert "PyTorch" in outcome.stderr


def test_a_symbolic_link_is_written_through(server: ScriptedServer, photo: Path) -> None:
    link, real = photo.with_name("link.png"), photo.with_name("real.png")
    link.symlink_to(real)
    assert call("stylize", photo, "fire", "-o", link, "--server", server.target).exit_code == 0
    assert link.is_symlink()
    assert real.read_bytes() == picture()


@pytest.mark.parametrize("left", ["beside", "here", "temporary"])
def test_a_result_that_cannot_be_written_is_written_elsewhere(
    photo: Path, tmp_path: Path, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {name: tmp_path / name for name in ("beside", "here", "temporary")}
    for place in places.values():
        place.mkdir()
    monkeypatch.chdir(places["here"])
    monkeypatch.setattr(tempfile, "tempdir", str(places["temporary"]))
    out = places["beside"] / "out.png"

    def failing(request: object, context: object) -> Iterator[Event]:
        for event in ordinary(request, context):
            if event.HasField("result"):
                out.mkdir()  # the file itself cannot be written any more
                for name, place in places.items():
                    if name == left:
                        break
                    shutil.rmtree(place)
            yield event

    with serving(failing) as server:
        outcome = call("stylize", photo, "fire", "-o", out, "--server", server.target, "--json")
    assert outcome.exit_code == 1
    (written,) = (path for path in places[left].iterdir() if path.is_file())
    assert written.read_bytes() == picture()
    assert f"error: --out: {out}: " in outcome.stderr
    assert f"written to {written.name if left == 'here' else written} instead" in outcome.stderr
    assert json.loads(outcome.stdout)["output"].endswith(written.name)


def test_a_run_without_previews_leaves_no_directory_for_them(photo: Path, tmp_path: Path) -> None:
    def refused(_: object, context: grpc.ServicerContext) -> Iterator[Event]:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")

    with serving(refused) as server:
        words = ["-o", tmp_path / "out.png", "--previews", tmp_path / "deep" / "previews", "--server", server.target]
        assert call("stylize", photo, "fire", *words).exit_code != 0
    assert list(tmp_path.iterdir()) == [photo]


def test_artifacts_that_cannot_be_written_harm_no_other(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, previews, gone = tmp_path / "out.png", tmp_path / "previews", tmp_path / "gone"
    gone.mkdir()

    def failing(request: object, context: object) -> Iterator[Event]:
        previews.touch()
        shutil.rmtree(gone)
        yield from ordinary(request, context)

    with serving(failing) as server:
        outcome = call(
            "stylize", photo, "fire", "-o", out, "--previews", previews, "--contact-sheet", gone / "sheet.png",
            "--animation", tmp_path / "run.gif", "--server", server.target, "--preview-every", 1,
        )  # fmt: skip
    assert outcome.exit_code == 1
    assert out.read_bytes() == picture()
    assert (tmp_path / "run.gif").exists()
    assert outcome.stderr.count("error: --previews: ") == 1
    assert "error: --contact-sheet: " in outcome.stderr


def test_a_download_is_written_elsewhere_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(tmp_path)

    def removed(*_: object) -> JobImage:
        gone.rmdir()
        return JobImage(picture(), "png", 64, 48)

    monkeypatch.setattr("clipstyler_client._sync.jobs.Jobs.download", removed)
    outcome = call("jobs", "download", "1", "-o", gone / "out.png")
    assert outcome.exit_code == 1
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [picture()]
    assert "instead" in outcome.stderr


def test_an_export_is_written_elsewhere_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipstyler.encoders.onnx import export as module

    whole = module.export

    def removed(encoders: object, directory: Path, **options: object) -> object:
        if directory.name == "pocket":
            raise OSError(28, "No space left on device")
        return whole(encoders, directory, **options)

    monkeypatch.setattr(module, "export", removed)
    monkeypatch.chdir(tmp_path)
    outcome = call("models", "export", "pocket", "--out", tmp_path / "pocket")
    assert outcome.exit_code == 1
    (written,) = tmp_path.iterdir()
    assert (written / "manifest.json").exists()
    assert f"No space left on device; written to {written} instead" in outcome.stderr
