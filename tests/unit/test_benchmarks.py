"""Benchmarks refuse what they cannot use before they work for minutes."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from benchmarks import front_costs, gpu, rolling_restart
from benchmarks.fleet.validate import MOST_DIFFERENCE, Row
from benchmarks.load import over
from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler.v1.stylization_pb2 import Stylization


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


def test_a_wait_that_was_not_measured_and_is_simulated_is_a_difference():
    assert Row("mean wait in s", 0.0, 5.0).difference > MOST_DIFFERENCE
    assert Row("mean wait in s", 0.0, 0.0).difference == 0
    assert Row("mean wait in s", 4.0, 5.0).difference == 0.25


def test_a_job_that_ran_twice_counts_beside_one_that_never_began(tmp_path):
    record = rolling_restart.Record()
    for request_id, runs in (("lost", 0), ("once", 1), ("twice", 2)):
        record.jobs[request_id] = {f"stylizations/{request_id}"}
        trace = rolling_restart.trace_of(tmp_path, request_id)
        if runs:
            trace.write_text("step 1\nstep 2\nclosed\n" * runs)
    assert rolling_restart.doubled(record, tmp_path) == 1
    record.jobs["once"].add("stylizations/again")
    assert rolling_restart.doubled(record, tmp_path) == 2


def test_a_failed_job_is_not_over_as_measured():
    def ended(state):
        job = Stylization(state=state, error={"message": "the optimizer was lost"})
        job.end_time.GetCurrentTime()

        async def get(_request):
            return SimpleNamespace(stylization=job)

        return SimpleNamespace(GetStylization=get)

    asyncio.run(over(ended(Stylization.STATE_SUCCEEDED), "stylizations/x"))
    with pytest.raises(RuntimeError, match="the optimizer was lost"):
        asyncio.run(over(ended(Stylization.STATE_FAILED), "stylizations/x"))


def test_positions_are_a_median_of_warm_measurements(monkeypatch):
    clock = iter([0, 100, 200, 201, 300, 307, 400, 403, 500, 502, 600, 605])  # 100 s cold, then 1, 7, 3, 2, 5
    monkeypatch.setattr(front_costs.time, "perf_counter", lambda: next(clock))
    computed = []
    monkeypatch.setattr(front_costs.JobQueue, "order", lambda queue: computed.append(queue._order))

    assert front_costs.positions(3, 2).seconds == 3
    assert computed == [None] * 6  # each time anew


def test_the_choice_is_measured_before_anything_compiles_its_kernels(monkeypatch):
    measured = []
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(gpu, "measure_choice", lambda: measured.append("choice") or {"seconds": 1.0})
    monkeypatch.setattr(gpu, "measure_steps", lambda *_: measured.append("steps") or {"setting": "one"})

    gpu.measure(SimpleNamespace(only=["steps", "choice"], repeats=1, jobs=1, json=None), [SimpleNamespace()])

    assert measured == ["choice", "steps"]
