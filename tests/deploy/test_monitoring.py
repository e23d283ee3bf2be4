"""Dashboard and alert rules: up to date and valid; each alert fires when it should, and the runbook explains it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from clipstyler_server.settings import Settings

from scripts.generate_monitoring import FILES, RUNBOOK, alert_queries, panel_queries, read_table
from tests.service.prometheus import program

ROOT = Path(__file__).parents[2]
TABLE = read_table()
ALERTS = {alert["name"]: alert for panel in TABLE for alert in panel.get("alert", [])}
SERVER = {"instance": "a:9464"}


@dataclass(frozen=True)
class Case:
    """Series that make an alert fire after 40 minutes, series that do not, and what the alert then says.

    Values are in promtool's notation: `0+9x40` grows by 9 per minute.
    """

    bad: dict[str, str]
    good: dict[str, str]
    summary: str
    labels: dict[str, str] = field(default_factory=lambda: SERVER)


def _calls(status: str, bad: str) -> dict[str, str]:
    name = "clipstyler_calls_ended_total"
    return {f'{name}{{grpc_status="OK"}}': "0+90x40", f'{name}{{grpc_status="{status}"}}': bad}


def _jobs(failed: str) -> dict[str, str]:
    name = "clipstyler_stylization_duration_seconds_count"
    return {f'{name}{{outcome="succeeded"}}': "0+90x40", f'{name}{{outcome="failed"}}': failed}


def _histogram(name: str, upper: str, lower: str) -> dict[str, str]:
    """A histogram of times all of which are between two of its bounds."""
    series = f"clipstyler_{name}_seconds_bucket"
    grown = "0+10x40"
    return {
        f'{series}{{le="{lower}.0"}}': "0x40",
        f'{series}{{le="{upper}.0"}}': grown,
        f'{series}{{le="+Inf"}}': grown,
    }


def _cancels(soon: str) -> dict[str, str]:
    name = "clipstyler_steps_after_cancel"
    return {f'{name}_bucket{{le="1.0"}}': soon, f"{name}_count": "0+2x40"}


CASES = {
    "ClipstylerDown": Case(
        {"up": "0x40"},
        {"up": "1x40"},
        "a:9464 does not answer",
        SERVER | {"job": "clipstyler"},
    ),
    "ClipstylerCallsFail": Case(
        _calls("INTERNAL", "0+10x40"), _calls("INVALID_ARGUMENT", "0+10x40"), "10% of the calls fail inside a:9464"
    ),
    "ClipstylerCallsRefused": Case(
        _calls("UNAVAILABLE", "0+30x40"), _calls("UNAVAILABLE", "0+5x40"), "a:9464 refuses 25% of its calls"
    ),
    "ClipstylerJobsFail": Case(_jobs("0+10x40"), _jobs("0+1x40"), "10% of the jobs of a:9464 fail"),
    "ClipstylerQueueStuck": Case(
        {"clipstyler_queue_depth": "3x40", "clipstyler_jobs_running": "0x40"},
        {"clipstyler_queue_depth": "3x40", "clipstyler_jobs_running": "1x40"},
        "jobs wait at a:9464, and none runs",
        SERVER | {"job": "clipstyler"},
    ),
    "ClipstylerFirstPreviewSlow": Case(
        _histogram("first_preview", "120", "60"),
        _histogram("first_preview", "60", "40"),
        "half of the jobs of a:9464 show nothing for 1m 30s",
    ),
    "ClipstylerQueueWaitLong": Case(
        _histogram("queue_wait", "600", "300"),
        _histogram("queue_wait", "300", "120"),
        "a tenth of the jobs of a:9464 wait for 9m 30s",
    ),
    "ClipstylerCancelSlow": Case(
        _cancels("0+1x40"), _cancels("0+2x40"), "a:9464 goes on with jobs that were cancelled"
    ),
    "ClipstylerFrontMemory": Case(
        {'clipstyler_resident_bytes{process="front"}': "450000000x40"},
        {'clipstyler_resident_bytes{process="optimizer"}': "450000000x40"},
        "the front process of a:9464 takes 429.2MiB",
        SERVER | {"job": "clipstyler", "process": "front"},
    ),
    "ClipstylerEventLoopBusy": Case(
        {"clipstyler_event_loop_pause_seconds_sum": "0+30x40"},
        {"clipstyler_event_loop_pause_seconds_sum": "0+6x40"},
        "the front process of a:9464 serves no call for 50% of the time",
    ),
    "ClipstylerCertificateExpires": Case(
        {'clipstyler_certificate_expiry_timestamp_seconds{certificate="server"}': "520800x40"},
        {'clipstyler_certificate_expiry_timestamp_seconds{certificate="server"}': "691200x40"},
        "the certificate of a:9464 expires in 6d 0h 0m 0s",
        SERVER | {"job": "clipstyler", "certificate": "server"},
    ),
    "ClipstylerWorkersRestart": Case(
        {'clipstyler_worker_restarts_total{worker="decoder"}': "0+1x40"},
        {'clipstyler_worker_restarts_total{worker="decoder"}': "0x20 1x20"},
        "a:9464 lost its decoder several times",
        SERVER | {"worker": "decoder"},
    ),
    "ClipstylerStorageFails": Case(
        {'clipstyler_storage_failures_total{reason="full"}': "0+1x40"},
        {'clipstyler_storage_failures_total{reason="full"}': "3x40"},
        "the storage of a:9464 is full",
        SERVER | {"reason": "full"},
    ),
    "ClipstylerJobsTakenOver": Case(
        {"clipstyler_jobs_taken_over_total": "0+1x40"},
        {"clipstyler_jobs_taken_over_total": "0x20 1x20"},
        "a:9464 took over jobs of other servers again and again",
    ),
    "ClipstylerLeaseLost": Case(
        {"clipstyler_leases_lost_total": "0+1x40"},
        {"clipstyler_leases_lost_total": "3x40"},
        "a:9464 could not renew its lease in the database",
    ),
}


def promtool(*arguments: object) -> None:
    finished = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_committed_files_are_those_of_the_table() -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "generate_monitoring.py", "--check"], check=True)


def test_prometheus_accepts_the_rules() -> None:
    promtool("check", "rules", FILES / "alerts.yaml")


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_only_then(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    fired = _fired(name, case.labels, case.summary)
    bad, good = ({_of_server(series): values for series, values in given.items()} for given in (case.bad, case.good))
    _check_alerts(tmp_path, name, [(bad, [fired]), (good, [])])


@pytest.mark.parametrize(
    ("ready", "running", "stuck"),
    [
        ((0, 1), (0, 1), []),  # b does the work
        ((0, 1), (0, 0), ["a", "b"]),
        ((0, 0), (0, 0), ["a", "b"]),
        ((1, 1), (0, 1), ["a"]),  # which could run one
    ],
)
def test_a_shared_queue_is_stuck_only_if_no_server_works_on_it(
    tmp_path: Path, ready: tuple[int, int], running: tuple[int, int], stuck: list[str]
) -> None:
    series = {}
    for name, is_ready, runs in zip("ab", ready, running, strict=True):
        values = {"queue_depth": 3, "jobs_running": runs, "device_ready": is_ready, "fronts": 2}
        series |= {_of_server(f"clipstyler_{metric}", name): f"{value}x40" for metric, value in values.items()}
    fired = [
        _fired("ClipstylerQueueStuck", _server(name), f"jobs wait at {name}:9464, and none runs") for name in stuck
    ]
    _check_alerts(tmp_path, "ClipstylerQueueStuck", [(series, fired)])


def _server(name: str) -> dict[str, str]:
    return {"instance": f"{name}:9464", "job": "clipstyler"}


def _fired(name: str, labels: dict[str, str], summary: str) -> dict[str, dict[str, str]]:
    """Return an alert that fires, in promtool's form."""
    return {
        "exp_labels": labels | {"severity": ALERTS[name]["severity"]},
        "exp_annotations": {"summary": summary, "runbook_url": f"{RUNBOOK}#{name.lower()}"},
    }


def _check_alerts(tmp_path: Path, name: str, expected: list[tuple[dict[str, str], list[dict]]]) -> None:
    """Check which alerts of a name fire with series, each given with its values."""
    tests = {
        "rule_files": [str(FILES / "alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": values} for series, values in given.items()],
                "alert_rule_test": [{"eval_time": "40m", "alertname": name, "exp_alerts": fired}],
            }
            for given, fired in expected
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    promtool("test", "rules", tmp_path / "tests.yaml")


def _of_server(series: str, server: str = "a") -> str:
    """Return a series with the labels that Prometheus gives to those of a server."""
    name, _, labels = series.removesuffix("}").partition("{")
    return f'{name}{{job="clipstyler",instance="{server}:9464"{"," + labels if labels else ""}}}'


def test_the_dashboard_has_every_query_and_no_panel_covers_another() -> None:
    board = json.loads((FILES / "dashboard.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] == "timeseries"]
    assert [target["expr"] for panel in panels for target in panel["targets"]] == panel_queries(
        TABLE, "$__rate_interval"
    )
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_alert_is_in_the_runbook_with_its_limit_and_every_page_is_of_an_alert() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    sections = dict(re.findall(r"^## (Clipstyler\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(alert_queries(TABLE))
    for name, text in sections.items():
        assert "**Meaning.**" in text, name
        assert "**What to do.**" in text, name
        assert f"`{ALERTS[name]['limit']}` for {ALERTS[name]['for']}, {ALERTS[name]['severity']}" in text, name


def test_what_the_runbook_tells_an_operator_to_look_for_exists() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    sources = (ROOT / "server" / "clipstyler_server").rglob("*.py")
    server = "\n".join([path.read_text() for path in sources])
    settings = {f"CLIPSTYLER_{name.upper()}" for name in Settings.model_fields}
    words = set(re.findall(r"`(\w+)`", page)) - {"full", "level", "error", "unavailable", "damaged"}
    assert {word for word in words if word.startswith("CLIPSTYLER_")} <= settings
    assert {word for word in words if not word.startswith("CLIPSTYLER_") and word not in server} == set()
