"""Benchmarks refuse what they cannot use before they work for minutes."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders


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


def test_an_unknown_acceleration_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["accelerations", "--combinations", "off", "memory,turbo"])

    with pytest.raises(SystemExit):
        import_module("benchmarks.accelerations").main()

    assert "'turbo': unknown" in capsys.readouterr().err


def test_a_clip_has_even_sides(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["video", "--clip", str(tmp_path / "clip.mp4"), "--width", "250"])

    with pytest.raises(SystemExit):
        import_module("benchmarks.video").main()

    assert "multiple of 8" in capsys.readouterr().err


def test_encoders_of_a_directory_leave_no_export_beside_it(tmp_path, monkeypatch):
    directory = write_encoders(tmp_path / "mine", TINY_CLIP)
    arguments = ["encoders", "--encoders", str(directory), "--batches", "1", "--seconds", "0.01"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)

    import_module("benchmarks.encoders").main()

    assert list(tmp_path.iterdir()) == [directory]
