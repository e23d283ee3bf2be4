"""`clipstyler video` on tiny clips: from file to file, resumed after any interruption with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from clipstyler_cli import local_video
from clipstyler_cli.main import app
from clipstyler_cli.video_work import Work
from PIL import Image
from typer.testing import CliRunner

from benchmarks.moving_clip import Camera, write_clip
from clipstyler.imaging import Picture, decode
from clipstyler.video.reading import read_frames, read_info
from tests.unit.video_pictures import PHOTO

FRAMES = 10
STYLE = "fire"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = list(Camera(decode(PHOTO.read_bytes()), 32, 24, 60).film())
    other = [Picture(255 - frame.rgb[::-1]) for frame in frames[:7]]
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", [*other, *frames[: FRAMES - 7]], 10, tone="aac")


def run(*arguments: object):
    return CliRunner().invoke(app, ["video", *map(str, arguments)])


def test_a_style_is_applied_to_every_frame(clip: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    outcome = run(clip, out, "--style", STYLE, "--report", report)
    assert outcome.exit_code == 0, outcome.stderr
    info = read_info(out)
    assert (info.width, info.height, info.rate) == (32, 24, 10)
    assert sum(1 for _ in read_frames(out, info)) == FRAMES
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    found = json.loads(report.read_text())
    assert (found["frames"], found["shots"], found["drawn"]["pairs"]) == (FRAMES, 2, FRAMES - 2)
    assert found["written"]["warping_error"] > found["drawn"]["warping_error"] > 0
    assert "warping error" in outcome.stdout
    assert "times as much" in outcome.stdout
    assert f"{FRAMES} frames in 2 shot(s)" in outcome.stderr
    assert f"drawing {FRAMES}/{FRAMES}" in outcome.stderr
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_text_is_fitted_to_key_frames_of_every_shot(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipstyler import style_fitting

    seen = []
    original = style_fitting.fit_style

    def watched(photos, spec, encoders, **keywords):
        seen.append((len(photos), spec, keywords["temporal"]))
        return original(photos, spec, encoders, **keywords)

    monkeypatch.setattr(style_fitting, "fit_style", watched)
    out = tmp_path / "out.mkv"
    options = ["--size", 64, "--steps", 2, "--seed", 1, "--key-frames", 2, "--temporal", 100, "--quiet"]
    outcome = run(clip, out, "stained glass", *options)
    assert outcome.exit_code == 0, outcome.stderr
    ((photos, spec, temporal),) = seen
    assert (photos, spec.seed, spec.config.size, spec.config.steps) == (4, 1, 64, 2)
    assert (temporal.weight, len(temporal.before)) == (100, 4)
    assert all(line.startswith("warning: ") for line in outcome.stderr.splitlines())


def interrupted_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come after so many more frames were drawn."""
    keep, kept = Work.keep_frame, []

    def keep_frame(self, number, picture):
        keep(self, number, picture)
        kept.append(number)
        if len(kept) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(Work, "keep_frame", keep_frame)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(clip: Path, tmp_path: Path, suffix: str) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    assert run(clip, whole, "--style", STYLE, "-q").exit_code == 0
    for count in (2, 6):  # in the first shot, and in the second
        with pytest.MonkeyPatch.context() as monkeypatch:
            interrupted_after(count, monkeypatch)
            outcome = run(clip, out, "--style", STYLE, "-q")
        assert outcome.exit_code == 130
        assert "the same command goes on" in outcome.stderr
        assert not out.exists()
    outcome = run(clip, out, "--style", STYLE, "-q")
    assert outcome.exit_code == 0, outcome.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_fitted_style_and_its_seed_are_kept(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    words = [clip, out, "fire", "--size", 64, "--steps", 2, "-q"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupted_after(2, monkeypatch)
        assert run(*words).exit_code == 130
    work = Work(tmp_path / "out.mp4.unfinished")
    seed, fitted = work.seed, work.style()
    assert fitted
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupted_after(2, monkeypatch)
        monkeypatch.setattr(local_video._Run, "_fit", lambda *_: pytest.fail("fitted again"))
        assert run(*words).exit_code == 130
    assert (work.seed, work.style()) == (seed, fitted)
    assert work.frames_done() == 4


def test_another_request_does_not_spoil_an_unfinished_run(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupted_after(2, monkeypatch)
        run(clip, out, "--style", STYLE, "-q")
    outcome = run(clip, out, "--style", STYLE, "--strength", 0.5, "-q")
    assert (outcome.exit_code, "(controls)" in outcome.stderr, "--restart" in outcome.stderr) == (2, True, True)
    assert Work(tmp_path / "out.mp4.unfinished").frames_done() == 2
    assert run(clip, out, "--style", STYLE, "--strength", 0.5, "--restart", "-q").exit_code == 0


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("av.__version__", "0.1", "(versions)"),
        ("cv2.__version__", "0.1", "(versions)"),
        ("torch.get_num_threads", lambda: 99, "(threads)"),
    ],
)
def test_what_gives_other_bytes_does_not_go_on_with_an_unfinished_run(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object, named: str
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.MonkeyPatch.context() as interrupting:
        interrupted_after(2, interrupting)
        run(clip, out, "--style", STYLE, "-q")
    monkeypatch.setattr(name, value)
    outcome = run(clip, out, "--style", STYLE, "-q")
    assert (outcome.exit_code, named in outcome.stderr, "--restart" in outcome.stderr) == (2, True, True)


def test_a_real_ctrl_c_leaves_a_run_that_goes_on(clip: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out.mp4", Work(tmp_path / "out.mp4.unfinished")
    words = [sys.executable, "-m", "clipstyler_cli.entry", "video", clip, out, "--style", STYLE]
    process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not work.frames_done() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been quicker
        assert process.returncode == 130
        assert "the same command goes on" in errors
        assert "Traceback" not in errors
    assert run(clip, out, "--style", STYLE, "-q").exit_code == 0
    assert out.exists()


def test_the_result_has_the_size_that_is_asked_for(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert run(clip, out, "--style", STYLE, "--output-size", 19, "-q").exit_code == 0
    assert (read_info(out).width, read_info(out).height) == (18, 14)


def test_strength_0_is_the_video_itself(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert run(clip, out, "--style", STYLE, "--strength", 0, "--steadiness", 0, "-q").exit_code == 0
    for (result, _), (frame, _) in zip(*(read_frames(path, read_info(path)) for path in (out, clip)), strict=True):
        assert np.abs(result.rgb.astype(int) - frame.rgb).mean() < 5


def test_sound_that_does_not_fit_is_left_out_with_a_warning(clip: Path, tmp_path: Path) -> None:
    outcome = run(clip, tmp_path / "out.webm", "--style", STYLE, "-q")
    assert outcome.exit_code == 0
    assert "warning" in outcome.stderr
    assert "(aac) cannot be stored in .webm" in outcome.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["CLIP", "out.mp4"], "TEXT: name a text, or a style"),
        (["CLIP", "out.mp4", "fire", "--style", "fire"], "TEXT: name a text, or a style"),
        (["CLIP", "out.gif", "fire"], "OUT: 'out.gif' must end in one of .mp4"),
        (["CLIP", "CLIP", "fire"], "is an input too"),
        (["CLIP", "none/out.mp4", "fire"], "OUT: the directory none does not exist"),
        (["CLIP", "out.mp4", "fire", "--report", "report.txt"], "--report: 'report.txt' must end in"),
        (["CLIP", "out.mp4", "--style", "no-such"], "--style: 'no-such' is neither a file"),
        (["CLIP", "out.mp4", "--style", "fire", "--steps", "3"], "--steps: belongs to the fit"),
        (["CLIP", "out.mp4", "--style", "fire", "--temporal", "3"], "--temporal: belongs to the fit"),
        (["nothing.mp4", "out.mp4", "fire", "--steps", "0"], "\n       IN: nothing.mp4: there is no such file"),
        (["CLIP", "out.mp4", " "], "TEXT: "),
        (["CLIP", "out.mp4", "fire", "--size", "1", "--steps", "0"], "--size: "),
        (["PHOTO", "out.mp4", "fire"], "is a picture, not a video"),
        (["nothing.mp4", "out.mp4", "fire"], "IN: nothing.mp4: there is no such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 24)).save(tmp_path / "photo.png")
    paths = {"CLIP": str(clip), "PHOTO": "photo.png"}
    outcome = run(*(paths.get(word, word) for word in words))
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]


def test_a_single_frame_is_no_video(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "still.gif")
    outcome = run(tmp_path / "still.gif", tmp_path / "out.mp4", "--style", STYLE)
    assert outcome.exit_code == 2
    assert "has a single frame" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["still.gif"]


@pytest.mark.parametrize(
    ("size", "words", "problem"),
    [
        ((40, 1), [], "IN: {source}: encoders take sides of at least 2 px, and its frames have 40 x 1 px"),
        ((40, 4), ["--output-size", 8], "--output-size: the result would be 8 x 1 px"),
    ],
)
def test_a_result_that_is_too_narrow_is_refused_for_what_makes_it_so(
    tmp_path: Path, size: tuple[int, int], words: list[object], problem: str
) -> None:
    source = tmp_path / "narrow.gif"
    first, *others = (Image.new("RGB", size, color) for color in ("red", "green", "blue"))
    first.save(source, save_all=True, append_images=others)
    outcome = run(source, tmp_path / "out.mp4", "--style", STYLE, *words)
    assert (outcome.exit_code, problem.format(source=source) in outcome.stderr) == (2, True)


def test_what_is_worth_knowing_of_a_fit_is_said(clip: Path, tmp_path: Path) -> None:
    words = ["zorblax quvintle", "--size", 64, "--steps", 1, "--seed", 1, "--key-frames", 1, "-q"]
    outcome = run(clip, tmp_path / "out.mp4", *words)
    assert outcome.exit_code == 0, outcome.stderr
    assert "do not know 'zorblax quvintle'" in outcome.stderr


def test_a_full_disk_is_foreseen(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, frame_bytes = tmp_path / "out.mp4", 3 * 32 * 24

    def leave(frames: int) -> None:
        usage = type("Usage", (), {"free": frames * frame_bytes})
        monkeypatch.setattr(local_video.shutil, "disk_usage", lambda _: usage)

    leave(FRAMES - 1)
    outcome = run(clip, out, "--style", STYLE)
    assert outcome.exit_code == 2
    assert "GB free" in outcome.stderr
    assert list(tmp_path.iterdir()) == []
    leave(FRAMES)
    with pytest.MonkeyPatch.context() as interrupting:
        interrupted_after(4, interrupting)
        assert run(clip, out, "--style", STYLE, "-q").exit_code == 130
    leave(FRAMES - 5)  # less than what is left
    assert run(clip, out, "--style", STYLE, "-q").exit_code == 2
    leave(FRAMES - 4)
    assert run(clip, out, "--style", STYLE, "-q").exit_code == 0


def test_a_link_is_followed_and_permissions_are_kept(clip: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "real.mp4", tmp_path / "link.mp4"
    target.parent.mkdir()
    target.touch(0o600)
    link.symlink_to(target)
    outcome = run(clip, link, "--style", STYLE, "-q")
    assert outcome.exit_code == 0, outcome.stderr
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert read_info(target).frames == FRAMES


@pytest.mark.parametrize("option", ["--style", "--mix-with"])
def test_a_style_without_a_name_is_no_style(clip: Path, tmp_path: Path, option: str) -> None:
    if option == "--style":
        outcome = run(clip, tmp_path / "out.mp4", option, "")
    else:
        words = ["apply", STYLE, str(PHOTO), "-o", str(tmp_path / "styled"), option, ""]
        outcome = CliRunner().invoke(app, words)
    assert (outcome.exit_code, option in outcome.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_discarded_is_never_gone_on_with(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    words = [clip, out, "--style", STYLE, "--restart", "-q"]
    with pytest.MonkeyPatch.context() as interrupting:
        interrupted_after(2, interrupting)
        outcome = run(*words)
    assert "the same command without --restart goes on" in outcome.stderr
    unlink, removed = Path.unlink, []

    def interrupted(path: Path, **options: bool) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        if path.parent.suffix == ".unfinished":
            removed.append(path.name)
        unlink(path, **options)

    with pytest.MonkeyPatch.context() as interrupting:
        interrupting.setattr(Path, "unlink", interrupted)
        assert run(*words).exit_code != 0
    assert removed[0] == "run.json"
    assert run(clip, out, "--style", STYLE, "-q").exit_code == 0


@pytest.mark.parametrize(
    "name",
    ["run.json", "shots.json", "shot-00000-0-before.png", "frame-0000003.png", "frame-0000000.png", "look.style"],
)
@pytest.mark.parametrize("size", [0, 60])
def test_an_unfinished_run_that_is_damaged_is_named(clip: Path, tmp_path: Path, name: str, size: int) -> None:
    out = tmp_path / "out.mp4"
    words = [clip, out, "fire", "--size", 64, "--steps", 1, "--seed", 1, "-q"]
    with pytest.MonkeyPatch.context() as interrupting:
        interrupted_after(5, interrupting)
        assert run(*words).exit_code == 130
    file = tmp_path / "out.mp4.unfinished" / name
    file.write_bytes(file.read_bytes()[:size])
    outcome = run(*words)
    assert (outcome.exit_code, f"OUT: {file} is damaged" in outcome.stderr, "--restart" in outcome.stderr) == (
        2,
        True,
        True,
    )
    assert run(*words, "--restart").exit_code == 0


@pytest.mark.parametrize("package", ["av", "cv2"])
def test_a_missing_extra_is_named(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [name for name in sys.modules if name.startswith("clipstyler.video")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    outcome = run(clip, tmp_path / "out.mp4", "--style", STYLE)
    assert outcome.exit_code == 1
    assert 'pip install "clipstyler[video]"' in outcome.stderr
    assert not list(tmp_path.glob("*.unfinished"))
