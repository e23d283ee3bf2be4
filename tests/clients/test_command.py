"""The `clipstyler` command: help, exit codes, files, and errors that name what was typed."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from clipstyler_cli import entry
from clipstyler_cli.main import app
from PIL import Image
from typer.testing import CliRunner, Result

from clipstyler.config import PRESETS
from tests.clients.scripted_server import ScriptedServer, invalid_steps, picture, queue_full, serving

HIDDEN_CURSOR, SHOWN_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["stylize"],
        ["serve"],
        ["demo"],
        ["classify"],
        ["check"],
        ["lab"],
        ["health"],
        ["models"],
        ["models", "list"],
        ["models", "export"],
        ["models", "pull"],
        ["models", "verify"],
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(command: list[str]) -> None:
    outcome = call(*command, "--help")
    assert outcome.exit_code == 0
    assert "Usage" in outcome.output
    if command and command not in (["models"],):
        assert "Examples" in outcome.output
        assert f"clipstyler {' '.join(command)}" in outcome.output


def test_help_shows_the_defaults_of_the_configuration() -> None:
    output = call("stylize", "--help").output
    for preset, work in PRESETS.items():
        assert f"{preset} {work.size}" in output
        assert f"{preset} {work.steps}" in output


def test_help_shows_the_bounds_and_words_of_options() -> None:
    output = " ".join(call("stylize", "--help").output.replace("│", " ").split())
    assert "Range: 1 to 100000." in output
    assert "One of draft, paper." in output


def test_version() -> None:
    from clipstyler import __version__

    assert call("--version").output.strip() == __version__


def test_a_run_through_a_server_leaves_everything_asked_for(
    server: ScriptedServer, photo: Path, tmp_path: Path
) -> None:
    out, sheet, animation, previews = (tmp_path / name for name in ("out.png", "sheet.png", "run.gif", "previews"))
    outcome = call(
        "stylize", photo, "fire", "-o", out, "--server", server.target, "--seed", 7, "--steps", 3,
        "--previews", previews, "--animation", animation, "--contact-sheet", sheet, "--preview-every", 1, "--json",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert out.read_bytes() == picture()
    assert [path.name for path in sorted(previews.iterdir())] == [f"step-000{step}.png" for step in range(4)]
    with Image.open(animation) as frames:
        assert (getattr(frames, "n_frames", 1), frames.size) == (6, (64, 48))
    with Image.open(sheet) as tiles:
        assert tiles.width == 16 + 4 * (256 + 16)
    described = json.loads(outcome.stdout)
    assert described["output"] == str(out)
    assert described["options"]["seed"] == 7
    assert described["style_text"] == "fire"
    assert described["options"]["preset"] == "draft"
    assert described["models"] == [{"name": "pocket", "digest": "ab" * 32}]
    assert server.requests[0].spec.options.seed == 7


def test_a_run_without_a_server_draws_the_result_at_the_size_of_the_photo(photo: Path, tmp_path: Path) -> None:
    with Image.open(photo) as image:
        width, height = image.size
    out, work = tmp_path / "out.png", ["--size", 64, "--steps", 1, "--patches", 1]
    for asked, expected in (([], width), (["--output-size", width // 2], width // 2)):
        outcome = call("stylize", photo, "fire", "-o", out, *work, *asked, "--json")
        assert outcome.exit_code == 0, outcome.output
        described = json.loads(outcome.stdout)
        assert described["options"]["output_size"] == described["width"] == expected
        with Image.open(out) as image:
            assert image.size == (expected, round(height * expected / width))
        assert "quality" in described
    bad = call("stylize", photo, "fire", "-o", out, *work, "--output-size", -1)
    assert bad.exit_code == 2
    assert "--output-size: must be at least 0 and at most 16383, got -1" in bad.stderr


def test_a_photo_longer_than_any_output_size_keeps_its_size(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipstyler_cli.local.LARGEST_OUTPUT", 100)
    work = ["--size", 64, "--steps", 1, "--patches", 1, "--json"]
    described = json.loads(call("stylize", photo, "fire", "-o", tmp_path / "out.png", *work).stdout)
    assert (described["options"]["output_size"], described["width"]) == (0, 120)


def test_a_photo_longer_than_the_format_of_the_result_is_refused_before_any_work(tmp_path: Path) -> None:
    photo, out = tmp_path / "long.png", tmp_path / "out.webp"
    Image.new("RGB", (17_000, 512)).save(photo)
    outcome = call("stylize", photo, "fire", "-o", out, "--size", 512, "--crop-size", 8)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["PHOTO"])
    assert "16383 px at most" in outcome.stderr


def test_progress_is_printed_in_plain_lines_without_a_terminal(
    server: ScriptedServer, photo: Path, tmp_path: Path
) -> None:
    outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target)
    assert "step 3/3  total 10  direction 0.50  patch 0.25" in outcome.stderr
    assert "rejected 50%" in outcome.stderr
    assert "warning: never heard of it" in outcome.stderr
    assert outcome.stdout == ""
    quiet = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target, "--quiet")
    assert quiet.stderr.splitlines() == ["warning: never heard of it"]


def test_a_terminal_that_draws_no_bar_has_plain_lines(server: ScriptedServer, photo: Path, tmp_path: Path) -> None:
    words = ["stylize", str(photo), "fire", "-o", str(tmp_path / "out.png"), "--server", server.target]
    outcome = CliRunner().invoke(app, words, env={"FORCE_COLOR": "1", "TERM": "dumb"})
    assert "step 3/3  total 10" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.bmp"], "--out: 'out.bmp' must end in one of .png, .jpg, .jpeg, .webp"),
        (["-o", "nowhere/out.png"], "the directory nowhere does not exist"),
        (["-o", "out.png", "--animation", "run.mp4"], "--animation: 'run.mp4' must end in one of .gif, .webp"),
        (["-o", "out.png", "--contact-sheet", "sheet.jpg"], "--contact-sheet: 'sheet.jpg' must end in one of .png"),
        (["-o", "out.png", "--steps", str(2**31)], "--steps: 2147483648 does not fit"),
        (["-o", "out.png", "--preview-every", str(2**31)], "--preview-every: 2147483648 does not fit"),
        (["-o", "out.png", "--timeout", "-1"], "--timeout: -1 is not above 0"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(
    server: ScriptedServer, photo: Path, arguments: list[str], message: str
) -> None:
    outcome = call("stylize", photo, "fire", "--server", server.target, *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert server.requests == []


def test_a_place_of_this_machine_is_refused_beside_a_server(
    server: ScriptedServer, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, there = ["-o", photo.with_name("out.png")], ["--device", "cuda", "--server", server.target]
    outcome = call("stylize", photo, "fire", *out, *there, "--accelerations", "nonsense")
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--device", "--accelerations"])
    outcome = call("classify", photo, "fire", *there)
    assert (outcome.exit_code, named(outcome.stderr), server.requests) == (2, ["--device"], [])
    monkeypatch.setenv("CLIPSTYLER_ACCELERATIONS", "off")
    assert call("stylize", photo, "fire", *out, "--server", server.target).exit_code == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_style_is_kept_with_a_job_only(server: ScriptedServer, photo: Path, there: bool) -> None:
    where = ["--server", server.target] if there else []
    outcome = call("stylize", photo, "fire", "-o", photo.with_name("out.png"), "--keep-style", *where)
    assert outcome.exit_code == 2
    assert "error: --keep-style: a style is kept with a job: add --server and --detach" in outcome.stderr
    assert server.requests == []


def test_a_refused_field_is_named_as_it_was_typed(photo: Path, tmp_path: Path) -> None:
    with serving(invalid_steps) as server:
        outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target)
    assert outcome.exit_code == 2
    assert "error: --steps: must be 1 or more" in outcome.stderr
    assert not (tmp_path / "out.png").exists()


def test_a_busy_server_reports_when_to_retry(photo: Path, tmp_path: Path) -> None:
    with serving(queue_full) as server:
        outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target)
    assert outcome.exit_code == 1
    assert "the queue is full (try again in 12 s)" in outcome.stderr


def test_a_server_that_is_not_there_is_asked_after(photo: Path, tmp_path: Path) -> None:
    outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", "127.0.0.1:1", "--timeout", 5)
    assert outcome.exit_code == 1
    assert "is a server running there? `clipstyler serve` starts one" in outcome.stderr


def test_a_photo_that_is_not_there_is_named(tmp_path: Path) -> None:
    outcome = call("stylize", tmp_path / "none.jpg", "fire", "-o", tmp_path / "out.png")
    assert outcome.exit_code == 2
    assert f"PHOTO: {tmp_path / 'none.jpg'}: No such file" in outcome.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", [], "TEXT: is empty"),
        ("a photo", [], "TEXT: is the same as the source text"),
        ("fire", ["--steps", "0"], "--steps: must be at least 1"),
        ("fire", ["--weight-patch", "nan"], "--weight-patch: must be a finite number"),
        ("fire", ["--crop-size", "100"], "--crop-size: a crop of 100 px is larger than the image"),
        ("fire", ["--encoder-set", "nothing"], "--encoder-set: 'nothing' is unknown: use pocket"),
        ("fire", ["--seed", str(2**63)], "--seed: must be at least 0"),
        ("fire", ["--device", "toaster"], "--device: 'toaster' is unknown: use cpu, cuda"),
        ("fire", ["--device", "cuda:99"], "--device: 'cuda:99' is not available here"),
    ],
)
def test_bad_input_is_refused_here_as_a_server_would(
    photo: Path, tmp_path: Path, text: str, arguments: list[str], message: str
) -> None:
    outcome = call("stylize", photo, text, "-o", tmp_path / "out.png", *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_bytes_that_are_no_image_are_refused_here_too(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    outcome = call("stylize", text, "fire", "-o", tmp_path / "out.png")
    assert outcome.exit_code == 2
    assert f"PHOTO: {text}: the bytes are no readable image" in outcome.stderr


def test_a_local_run_repeats_with_its_seed(photo: Path, tmp_path: Path) -> None:
    arguments = ["--size", 64, "--steps", 2, "--patches", 2, "--seed", 5, "--quiet"]
    described = []
    for name in ("first.png", "again.png"):
        outcome = call("stylize", photo, "fire", "-o", tmp_path / name, *arguments, "--json")
        assert outcome.exit_code == 0, outcome.output
        described.append(json.loads(outcome.stdout))
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert described[0]["options"] == described[1]["options"]
    assert described[0]["models"][0]["name"] == "pocket"
    assert described[0]["options"]["preset"] == "draft"


def test_ctrl_c_leaves_with_130_and_no_half_file(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipstyler_cli.runs._follow", interrupted)
    with serving() as server:
        outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target)
    assert outcome.exit_code == 130
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("module", ["clipstyler.openmp", "typer.main"])
def test_ctrl_c_is_quiet_while_modules_are_imported(photo: Path, tmp_path: Path, module: str) -> None:
    words = ["stylize", photo, "fire", "-o", tmp_path / "out.png", "--size", 64]
    command = [sys.executable, "-X", "importtime", "-m", "clipstyler_cli.entry", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert any(line.split()[-1] == module for line in process.stderr)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[1]
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in told
    assert "Exception" not in told


@pytest.mark.parametrize("seen", [HIDDEN_CURSOR, b"waiting"])  # while the bar begins, and while PyTorch is imported
def test_ctrl_c_shows_the_cursor_again(photo: Path, tmp_path: Path, seen: bytes) -> None:
    words = ["stylize", photo, "fire", "-o", tmp_path / "out.png", "--size", 64]
    terminal, inside = os.openpty()
    command = [sys.executable, "-m", "clipstyler_cli.entry", *map(str, words)]
    with subprocess.Popen(command, stdout=inside, stderr=inside, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(inside)
        shown = b""
        while seen not in shown:
            shown += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(terminal, 4096):
                shown += part
    os.close(terminal)
    assert process.returncode == 130
    assert shown.rindex(SHOWN_CURSOR) > shown.rindex(HIDDEN_CURSOR)
    assert shown.endswith(b"error: cancelled\r\n")


def test_ctrl_c_before_the_first_import_is_quiet_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_run", interrupted)
    with pytest.raises(SystemExit) as left:
        entry.main()
    assert left.value.code == 130


def test_models_are_listed_here_and_on_a_server(server: ScriptedServer) -> None:
    here = json.loads(call("models", "list", "--json").stdout)
    assert [entry["name"] for entry in here] == ["pocket", "vit-b-32"]
    assert len(here[0]["models"][0]["digest"]) == 64
    there = json.loads(call("models", "list", "--server", server.target, "--json").stdout)
    assert there[0]["calibration"] == {"threshold": 0.25}
    assert "pocket" in call("models", "list", "--server", server.target).stdout


def test_a_bad_setting_of_the_server_names_its_flag() -> None:
    outcome = call("serve", "--port", "70000")
    assert outcome.exit_code == 2
    assert "--port" in outcome.stderr


def test_the_command_starts_light() -> None:
    code = (
        "import sys, clipstyler_cli.main\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'clipstyler_server'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_picture_is_classified_the_best_label_first(tmp_path: Path) -> None:
    import numpy as np

    from training.pocket.concepts import TEXTURES

    path = tmp_path / "bricks.png"
    Image.fromarray((TEXTURES["brick wall"](np.random.default_rng(1), 160) * 255).astype("uint8")).save(path)
    outcome = call("classify", path, "a galaxy", "brick wall", "pencil sketch", "--json")
    assert outcome.exit_code == 0, outcome.output
    predictions = json.loads(outcome.stdout)["predictions"]
    assert predictions[0]["label"] == "brick wall"
    assert predictions[0]["probability"] > 0.8
    assert sum(p["probability"] for p in predictions) == pytest.approx(1, abs=1e-4)
    table = call("classify", path, "a galaxy", "brick wall").stdout
    assert table.index("brick wall") < table.index("a galaxy")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["fire", "Fire"], "LABELS[1]: 'Fire' repeats labels[0]"),
        (["fire", " "], "LABELS[1]: is empty"),
        (["fire\x07"], "LABELS[0]: contains control characters"),
    ],
)
def test_labels_that_cannot_be_used_are_named(photo: Path, labels: list[str], message: str) -> None:
    outcome = call("classify", photo, *labels)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_unknown_encoders_and_broken_images_are_named_when_classifying(photo: Path, tmp_path: Path) -> None:
    assert "--encoder-set: 'nothing' is unknown" in call("classify", photo, "fire", "--encoder-set", "nothing").stderr
    (tmp_path / "no.png").write_text("this is text")
    broken = call("classify", tmp_path / "no.png", "fire")
    assert broken.exit_code == 2
    assert "error: IMAGE: " in broken.stderr


def test_the_broken_image_of_two_is_named(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("this is text")
    for pair, named in (((photo, tmp_path / "no.png"), "STYLIZED"), ((tmp_path / "none.png", photo), "CONTENT")):
        outcome = call("evaluate", *pair, "fire")
        assert outcome.exit_code == 2
        assert f"error: {named}: " in outcome.stderr


def test_an_export_is_written_and_held_against_pytorch(tmp_path: Path) -> None:
    outcome = call("models", "export", "pocket", "--out", tmp_path / "pocket", "--json")
    assert outcome.exit_code == 0, outcome.output
    told = json.loads(outcome.stdout)
    assert told["parity"]["holds"] is True
    assert json.loads((tmp_path / "pocket" / "manifest.json").read_text()) == told["manifest"]


def test_an_operator_set_of_zero_is_refused(tmp_path: Path) -> None:
    outcome = call("models", "export", "pocket", "--out", tmp_path / "pocket", "--opset", 0)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--opset"])


@pytest.mark.parametrize("tool", ["teacher", "train", "refine", "average", "evaluate", "sheet"])
def test_the_tools_of_pocket_explain_themselves(
    tool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m training", tool, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("training", run_name="__main__")
    assert not ended.value.code
    assert f"python -m training {tool}" in capsys.readouterr().out


def test_an_unknown_text_is_reported_on_the_command_line(photo: Path, tmp_path: Path) -> None:
    outcome = call(
        "stylize", photo, "quantum physics", "-o", tmp_path / "out.png", "--steps", 1, "--size", 64, "--patches", 2
    )
    assert outcome.exit_code == 0, outcome.output
    assert "warning: the encoders 'pocket' do not know 'quantum physics'" in outcome.stderr


def named(stderr: str) -> list[str]:
    """Return what each line of an error names."""
    return [line.removeprefix("error:").partition(":")[0].strip() for line in stderr.splitlines()]


def test_everything_that_cannot_be_used_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call(
        *("stylize", "none.jpg", "", "-o", "out.gif", "--keep", "mask.png", "--keep-box", "a,b", "--size", 3),
        *("--encoder-set", "nope", "--device", "foo", "--accelerations", "bar"),
        *("--detach", "--timeout", 3, "--draft", "draft.png", "--previews", "previews"),
    )
    assert (outcome.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert named(outcome.stderr) == [
        *("--out", "PHOTO", "--keep", "TEXT", "--keep-box[0]", "--size", "--encoder-set", "--device"),
        *("--accelerations", "--detach", "--timeout", "--draft"),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("evaluate", "a", "b", "", "--encoder-set", "x"), ["CONTENT", "STYLIZED", "TEXT", "--encoder-set"]),
        (("classify", "a", "b", "b", "--encoder-set", "x"), ["IMAGE", "LABELS[1]", "--encoder-set"]),
        (("check", "", "--photo", "a", "--encoder-set", "x"), ["--photo", "TEXT", "--encoder-set"]),
        (("demo", "--photo", "a", "--text", "", "--seed", "-1"), ["--photo", "--seed", "TEXT"]),
        (("album", "a", "", "-o", "o", "--steps", "0", "--score"), ["PHOTOS", "TEXT", "--steps", "--score"]),
        (
            ("tokens", "create", "a b", "--file", "t", "--role", "x", "--expires", "1"),
            ["TENANT", "--role", "--expires"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_other_commands_name_everything_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call(*words)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, expected)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_photo_and_a_bad_option_are_named_together(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no image")
    outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--steps", 0)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["PHOTO", "--steps"])


def test_a_broken_photo_of_a_check_is_named_as_it_was_typed(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no image")
    outcome = call("check", "fire", "--photo", photo)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--photo"])


def test_an_album_is_not_fitted_for_a_size_that_cannot_be(photo: Path, tmp_path: Path) -> None:
    outcome = call("album", photo, "fire", "-o", tmp_path / "album", "--output-size", 99_999)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--output-size"])


@pytest.mark.parametrize("device", ["meta", "mps", "tpu"])
def test_a_device_that_cannot_be_used_is_named(photo: Path, tmp_path: Path, device: str) -> None:
    outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--device", device)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--device"])


@pytest.mark.parametrize("address", ["", " ", "localhost:99999", "http://localhost:50051"])
@pytest.mark.parametrize("words", [("jobs", "list"), ("health",)], ids=["call", "health"])
def test_an_address_that_grpc_would_read_otherwise_is_refused(words: tuple[str, ...], address: str) -> None:
    outcome = call(*words, "--server", address)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--server"])


def test_a_bracket_that_is_not_closed_is_no_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSTYLER_TOKEN", "token")
    outcome = call("jobs", "list", "--server", "[::1")
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["CLIPSTYLER_TOKEN"])


@pytest.mark.parametrize(
    "words", [("health", "--timeout", "inf"), ("gateway", "--wait", "inf")], ids=lambda words: words[0]
)
def test_a_number_without_an_upper_bound_is_finite(words: tuple[str, ...]) -> None:
    outcome = call(*words)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, [words[1]])


@pytest.mark.parametrize(
    ("words", "flags"),
    [(("health",), ("--timeout", 1e300)), (("jobs", "list"), ("--limit", 10**20))],
    ids=lambda words: str(words[0]),
)
def test_a_number_beyond_what_can_be_counted_is_no_other(words: tuple[str, ...], flags: tuple[object, ...]) -> None:
    outcome = call(*words, *flags, "--server", "127.0.0.1:1")
    assert outcome.exit_code == 1
    assert "Connection refused" in outcome.stderr


def test_a_token_never_expires_after_the_calendar_ends(tmp_path: Path) -> None:
    outcome = call("tokens", "create", "studio", "--file", tmp_path / "tokens", "--expires", "9999y")
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--expires"])
    assert "use never" in outcome.stderr


def test_what_belongs_to_a_fit_is_refused_beside_a_job() -> None:
    outcome = call("styles", "create", "job", "--steps", 5, "--source-text", "a cat", "--timeout", 9)
    assert (outcome.exit_code, named(outcome.stderr)) == (2, ["--steps", "--source-text", "--timeout"])
