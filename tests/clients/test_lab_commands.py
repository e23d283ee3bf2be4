"""`clipstyler lab` and `clipstyler check`: what they print, what they leave, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clipstyler_cli import lab
from clipstyler_cli.main import app
from typer.testing import CliRunner, Result

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_zero_shot_leaves_a_report_and_prints_the_published_figures(tmp_path: Path) -> None:
    outcome = call("lab", "zero-shot", "--out", tmp_path / "lab")
    assert outcome.exit_code == 0, outcome.output
    section = json.loads((tmp_path / "lab" / "results.json").read_text())["sections"]["zero-shot"]
    accuracies = [row["accuracy ↑"] for row in section["tables"][0]["rows"]]
    assert max(accuracies) > 0.7  # drawings of the generators that pocket was trained with, in 20 classes
    assert "0.2515" in outcome.stdout
    assert "must not be compared" in outcome.stdout
    assert f"report: {tmp_path / 'lab' / 'index.html'}" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablations"], "EXPERIMENTS: 'ablations' is unknown: use ablation, text-guided"),
        (["--scale", "big"], "--scale: 'big' is unknown: use small, paper"),
        (["--photo", "none.jpg"], "--photo: 'none.jpg' is no file"),
        (["--text", " "], "--text: is empty"),
        (["--styles", EXAMPLES], "holds no folders of pictures"),
        (["--seeds", "0"], "--seeds: must be at least 1"),
        (["--size", "3"], "--size: must be at least 64"),
        (["--encoder-set", "nothing"], "--encoder-set: 'nothing' is unknown"),
        (["--stop-band", "3:1"], "--stop-band: '3:1' is no band"),
        (["--stop-band", "1:3"], "--stop-band: 'pocket' has no vision transformer"),
        (["--photo", EXAMPLES / "cat.jpg", "--photo", EXAMPLES / "cat.jpg"], "two photos have the same name"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(tmp_path: Path, arguments: list[object], message: str) -> None:
    outcome = call("lab", "--out", tmp_path / "lab", *arguments)
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr
    assert not (tmp_path / "lab").exists()


def test_ctrl_c_says_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "_settings", interrupted)
    outcome = call("lab", "--out", tmp_path / "lab")
    assert outcome.exit_code == 130
    assert "repeat the command to continue" in outcome.stderr


def test_a_text_is_checked_for_people_and_for_programs() -> None:
    printed = call("check", "stained glass", "--photo", EXAMPLES / "cat.jpg")
    assert printed.exit_code == 0, printed.output
    assert "know this text" in printed.stdout
    values = json.loads(call("check", "stained glass", "--json").stdout)
    assert values["nearest"][0]["name"] == "stained glass"
    assert values["photo_margin"] is None
    assert values["findings"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "TEXT: is empty"),
        (["fire", "--photo", "none.jpg"], "--photo: none.jpg: No such file"),
        (["fire", "--results", EXAMPLES / "cat.jpg"], "is no results.json of `clipstyler lab`"),
        (["fire", "--results", "none.json"], "--results: none.json: No such file or directory"),
        (["fire", "--encoder-set", "nothing"], "--encoder-set: 'nothing' is unknown"),
    ],
)
def test_what_cannot_be_checked_is_refused(arguments: list[object], message: str) -> None:
    outcome = call("check", *arguments)
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr
