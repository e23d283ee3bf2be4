"""Starts the control and plays the runner of any language against it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

from tests.conformance.serve import CASES

NAMES: tuple[str, ...] = tuple(case["name"] for case in json.loads(CASES.read_text()))
TIMEOUT_S = 600


def run(command: Sequence[str], control: str, cases: Sequence[str] = (), **options: object) -> dict[str, dict]:
    """Play a runner; returns its line of each case by name. Other lines of its output are ignored.

    Parameters
    ----------
    command
        Starts the runner, without its arguments.
    control
        Address of the control; `serve.serving()` gives it.
    cases
        Names of cases; none for all.
    **options
        For `subprocess.run`, for instance `cwd`.
    """
    done = subprocess.run(
        [*command, control, *cases], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, **options
    )
    lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    results = {line["name"]: line for line in lines}
    assert set(results) == set(cases or NAMES), (
        f"the runner ended with {done.returncode} before it had played all cases"
    )
    assert (done.returncode == 0) == all(line["ok"] for line in results.values())
    return results
