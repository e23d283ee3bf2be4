"""Servers of benchmarks get the settings that they are given, and none is left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import load, serving


def test_a_setting_that_the_server_does_not_have_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no setting encoders"):
        serving.Server(tmp_path, encoders="scripted")


def test_variables_of_the_caller_do_not_reach_a_server(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSTYLER_TOKENS", "tokens.toml")
    monkeypatch.setenv("clipstyler_steps", "7")
    monkeypatch.setenv("OTHER", "stays")
    started = []
    monkeypatch.setattr(serving.subprocess, "Popen", lambda *_, env, **__: started.append(env))

    serving.Server(tmp_path, evaluator=False)

    (environment,) = started
    assert {name for name in environment if name.upper().startswith("CLIPSTYLER_")} == {
        "CLIPSTYLER_PORT",
        "CLIPSTYLER_HTTP_PORT",
        "CLIPSTYLER_DATA_DIR",
        "CLIPSTYLER_LOG_LEVEL",
        "CLIPSTYLER_EVALUATOR",
    }
    assert environment["OTHER"] == "stays"


def test_the_load_runs_on_scripted_encoders(monkeypatch):
    given = {}

    class GivenError(Exception):
        pass

    def started(_server, **settings):
        given.update(settings)
        raise GivenError

    monkeypatch.setattr(load, "serving", started)
    monkeypatch.setattr(sys, "argv", ["load"])
    with pytest.raises(GivenError):
        load.main()

    assert given["encoder_sets"] == "scripted"


def test_a_server_that_does_not_drain_is_killed(monkeypatch):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    started = []

    def start(server):
        server._process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
        server._process.stdout.readline()
        started.append(server)

    monkeypatch.setattr(serving.Server, "start", start)
    monkeypatch.setattr(serving.Server, "wait_until_ready", lambda _: None)
    monkeypatch.setattr(serving.Server.stop, "__defaults__", (0.2,))
    with pytest.raises(subprocess.TimeoutExpired), serving.serving():
        pass

    assert started[0]._process.poll() is not None
