"""Starts the control and plays the runner of any language against it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.conformance.serve import CASES

LIST = json.loads(CASES.read_text())
NAMES: tuple[str, ...] = tuple(case["name"] for case in LIST)
TIMEOUT_S = 600
# Cases of these servers wait for starts and ends of processes, the others for jobs: they are played side by side.
RESTARTED = {"full", "timed", "starting", "restarting", "draining"}


def run(command: Sequence[str], control: str, cases: Sequence[str] = NAMES, **options: object) -> dict[str, dict]:
    """Play a runner, twice at the same time with a part of the cases each; returns its line of each case by name.

    Parameters
    ----------
    command
        Starts the runner, without its arguments.
    control
        Address of the control; `serve.serving()` gives it.
    cases
        Names of cases.
    **options
        For `subprocess.run`, for instance `cwd`.
    """
    results: dict[str, dict] = {}
    with ThreadPoolExecutor() as pool:
        for lines in pool.map(lambda names: _play(command, control, names, options), groups(cases)):
            results |= lines
    return results


def groups(cases: Sequence[str]) -> list[list[str]]:
    """Return the cases in groups that can be played at the same time."""
    restarted = [case["name"] for case in LIST if case["server"] in RESTARTED and case["name"] in cases]
    others = [name for name in cases if name not in restarted]
    return [group for group in (restarted, others) if group]


def _play(command: Sequence[str], control: str, cases: Sequence[str], options: Mapping[str, object]) -> dict[str, dict]:
    """Play cases one after the other; other lines of the runner's output are ignored."""
    done = subprocess.run(
        [*command, control, *cases], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, **options
    )
    lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    results = {line["name"]: line for line in lines}
    assert set(results) == set(cases), f"the runner ended with {done.returncode} before it had played all cases"
    assert (done.returncode == 0) == all(line["ok"] for line in results.values())
    return results
