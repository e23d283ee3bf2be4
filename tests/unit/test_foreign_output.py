"""What C libraries and crashing interpreters write to stderr becomes log lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import structlog
from clipstyler_server.observability.foreign_output import relay


def lines_of(code: str, **options: object) -> list[str]:
    """What a process that captures its stderr writes there."""
    program = "import os, sys\nfrom clipstyler_server.observability import foreign_output, logs\n" + textwrap.dedent(
        code
    )
    ended = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False, **options)
    return ended.stderr.splitlines()


CAPTURED = """
with foreign_output.captured("front"):
    logs.configure("error", "json", "front")
"""


def test_lines_of_a_library_and_of_our_own_are_json() -> None:
    code = CAPTURED + "    os.write(2, b'E0000 core.cc:1] no\\nhalf a'); logs.get_logger().error('ours')\n"
    told = {line["event"]: line for line in map(json.loads, lines_of(code))}
    assert told["ours"]["process"] == "front"
    foreign = [line for line in map(json.loads, lines_of(code)) if line["event"] == "foreign_output"]
    assert [(line["source"], line["line"]) for line in foreign] == [
        ("front", "E0000 core.cc:1] no"),
        ("front", "half a"),
    ]


def test_what_is_written_after_the_end_goes_to_stderr_again() -> None:
    assert lines_of(CAPTURED + "    pass\nsys.stderr.write('later\\n')\n") == ["later"]


def test_the_report_of_a_crash_is_not_lost() -> None:
    told = lines_of(CAPTURED + "    import ctypes; ctypes.string_at(0)\n")
    assert "Fatal Python error: Segmentation fault" in told


def test_warnings_of_libraries_are_json() -> None:
    (line,) = lines_of(CAPTURED.replace("error", "warning") + "    import warnings; warnings.warn('old')\n")
    assert json.loads(line)["logger"] == "py.warnings"


@pytest.mark.skipif(sys.platform == "win32", reason="closes a descriptor before it starts")
def test_a_process_without_stderr_works() -> None:
    code = CAPTURED + "    print('works')\n"
    program = "from clipstyler_server.observability import foreign_output, logs\n" + code
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "works\n"


def written(data: bytes) -> list[dict]:
    """What is logged of bytes that a worker writes."""
    reading, writing = os.pipe()
    with structlog.testing.capture_logs() as lines:
        thread = relay(reading, "decoder")
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
        thread.join(10)
    assert not thread.is_alive()
    return lines


def test_bytes_that_are_no_text_and_long_lines_are_bounded() -> None:
    first, *rest = written(b"\xff\x00 odd\n" + b"x" * 5000)
    assert (first["source"], first["line"]) == ("decoder", "\\xff\x00 odd")
    assert [len(line["line"]) for line in rest] == [2000, 2000, 1000]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("I1126 18:48:14.297931 4122 a.cc:1] no", "info"),
        ("[W1126 10:00:00 a.cpp:1] old", "warning"),
        ("\x1b[0;93m2026-11-26 10:00:00.1 [W:onnxruntime:, a.cc:1 f] x\x1b[m", "warning"),
        ("E1126 x", "error"),
        ("I do", "error"),
    ],
)
def test_severity_is_what_the_library_says(line: str, level: str) -> None:
    assert [entry["log_level"] for entry in written(line.encode())] == [level]


def test_of_a_flood_some_lines_are_logged_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0] * 1000 + [1.0])
    scripted = SimpleNamespace(monotonic=lambda: next(clock, 1.0))  # other threads of this process have the real one
    monkeypatch.setattr("clipstyler_server.observability.foreign_output.time", scripted)
    lines = written(b"tag\n" * 1000 + b"last\n")
    assert len(lines) == 51
    assert (lines[-1]["line"], lines[-1]["skipped"]) == ("last", 950)
