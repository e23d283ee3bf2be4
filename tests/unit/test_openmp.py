"""Waiting threads sleep soon, unless the environment is configured otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clipstyler.openmp import spin_briefly


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)


def environment() -> dict[str, str]:
    import os

    return {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ}


def test_waiting_threads_spin_briefly() -> None:
    spin_briefly()
    assert 0 < int(environment()["GOMP_SPINCOUNT"]) < 100_000


@pytest.mark.parametrize("said", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_variables_of_the_environment_are_left_alone(monkeypatch: pytest.MonkeyPatch, said: dict[str, str]) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    spin_briefly()
    assert environment() == said


def test_it_can_be_said_before_torch_is_there() -> None:
    code = "import sys, clipstyler.openmp; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_optimizer_has_said_it_when_its_models_are_loaded() -> None:
    code = (
        "import os, sys\n"
        "from clipstyler_server.workers.optimizer import process as optimizer\n"
        "from clipstyler_server.workers.optimizer.workload import OptimizerOptions\n"
        "optimizer._prepare_process(OptimizerOptions(('pocket',), 'cpu', 2, 0, None, None, 0, 'info', 'json'))\n"
        "sys.exit('torch' in sys.modules or int(os.environ['GOMP_SPINCOUNT']) == 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
