"""Benchmarks refuse what they cannot use before they work for minutes."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["borders", "calls", "start", "step", "threads", "video"])
def test_an_output_is_checked_before_any_work(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--json", str(tmp_path / "missing" / "figures.json")])

    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()

    assert ended.value.code == 2
    assert "argument --json: the directory" in capsys.readouterr().err


def test_a_picture_is_checked_by_its_suffix(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["video", "--sheet", str(tmp_path / "sheet.txt")])

    with pytest.raises(SystemExit):
        import_module("benchmarks.video").main()

    assert "'sheet.txt' must end in one of" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "option"),
    [("calls", "--repeats"), ("service", "--pairs"), ("shared_runs", "--rounds"), ("step", "--steps")],
)
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_nothing_to_measure_is_an_error(name, option, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, option, value])

    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()

    assert ended.value.code == 2
    assert f"argument {option}" in capsys.readouterr().err
