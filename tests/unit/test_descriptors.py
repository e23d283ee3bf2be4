"""A process that was started without standard descriptors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_REPORT = """
import os, subprocess, sys
from clipstyler.descriptors import open_missing
open_missing()
print("nowhere"); sys.stderr.write("nowhere")
with open(sys.argv[1], "w") as file:
    print(file.fileno() > 2, *(os.readlink(f"/proc/self/fd/{number}") for number in range(3)), file=file)
    print(sys.stdin.read() == "", file=file)
child = "import os, sys; open(sys.argv[1], 'a').write(os.readlink('/proc/self/fd/2'))"
subprocess.run([sys.executable, "-c", child, sys.argv[1]], check=True)
"""


def report(closed: str, path: Path) -> list[str]:
    """Run the program above with descriptors closed; returns what it found."""
    program = [sys.executable, "-c", _REPORT, str(path)]
    subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *program], check=True, timeout=60, capture_output=True)
    return path.read_text().splitlines()


def test_missing_descriptors_are_the_null_device_here_and_in_child_processes(tmp_path: Path) -> None:
    assert report("<&- >&- 2>&-", tmp_path / "report") == ["True" + 3 * " /dev/null", "True", "/dev/null"]


def test_descriptors_that_exist_are_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (first, *_) = report(f"<&- >{kept} 2>&-", tmp_path / "report")
    assert first == f"True /dev/null {kept} /dev/null"
    assert kept.read_text() == "nowhere\n"
