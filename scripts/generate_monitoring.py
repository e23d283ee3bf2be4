"""Write the dashboard and the alert rules from the table of metrics.

Examples
--------
  python scripts/generate_monitoring.py          # rewrite deploy/helm/clipstyler/files
  python scripts/generate_monitoring.py --check  # fail if a file is stale
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
TABLE = DEPLOY / "monitoring" / "metrics.toml"
FILES = DEPLOY / "helm" / "clipstyler" / "files"
RUNBOOK = "https://clipstyler.dev/docs/runbook"
INTERVAL = "[INTERVAL]"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _COLUMNS, _HEIGHT = 24, 3, 8
_RED = "red"

Table = list[dict[str, Any]]


def read_table() -> Table:
    """Return the panels, in order."""
    panels: Table = tomllib.loads(TABLE.read_text())["panel"]
    return panels


def panel_queries(table: Table, interval: str) -> list[str]:
    """Return the queries of all panels, over a range such as "5m"."""
    return [_over(query["query"], interval) for panel in table for query in panel["queries"]]


def alert_queries(table: Table) -> dict[str, str]:
    """Return by the name of each alert the query that it compares with its limit."""
    return {alert["name"]: _alert_query(panel, alert) for panel in table for alert in panel.get("alert", [])}


def alert_rules(table: Table) -> dict[str, Any]:
    """Return the rules as Prometheus reads them."""
    alerts = [(panel, alert) for panel in table for alert in panel.get("alert", [])]
    rules = [
        {
            "alert": alert["name"],
            "expr": f"({_alert_query(panel, alert)}) {alert['limit']}",
            "for": alert["for"],
            "labels": {"severity": alert["severity"]},
            "annotations": {"summary": alert["summary"], "runbook_url": f"{RUNBOOK}#{alert['name'].lower()}"},
        }
        for panel, alert in alerts
    ]
    return {"groups": [{"name": "clipstyler", "rules": rules}]}


def dashboard(table: Table) -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, rows in itertools.groupby(table, key=lambda panel: panel["row"]):
        panels.append(_row(len(panels) + 1, title, top))
        for number, panel in enumerate(rows):
            line, column = divmod(number, _COLUMNS)
            place = {
                "h": _HEIGHT,
                "w": _WIDTH // _COLUMNS,
                "x": column * _WIDTH // _COLUMNS,
                "y": top + 1 + line * _HEIGHT,
            }
            panels.append(_panel(len(panels) + 1, panel, place))
        top = panels[-1]["gridPos"]["y"] + _HEIGHT
    return {
        "title": "clipstyler",
        "uid": "clipstyler",
        "tags": ["clipstyler"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": panels,
    }


def generated() -> dict[Path, str]:
    """Return what the files must contain, by path."""
    table = read_table()
    heading = "# Written by scripts/generate_monitoring.py from deploy/monitoring/metrics.toml.\n"
    rules = yaml.safe_dump(alert_rules(table), sort_keys=False, width=10_000)
    return {
        FILES / "alerts.yaml": heading + rules,
        FILES / "dashboard.json": json.dumps(dashboard(table), indent=2) + "\n",
    }


def _alert_query(panel: dict[str, Any], alert: dict[str, Any]) -> str:
    return _over(alert.get("query", panel["queries"][0]["query"]), alert.get("window", ""))


def _over(query: str, interval: str) -> str:
    """Return a query on one line, over a range."""
    return " ".join(query.replace(INTERVAL, f"[{interval}]").split())


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(number: int, panel: dict[str, Any], place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + position),
            "datasource": DATASOURCE,
            "expr": _over(query["query"], "$__rate_interval"),
            "legendFormat": query["legend"],
        }
        for position, query in enumerate(panel["queries"])
    ]
    defaults: dict[str, Any] = {"unit": panel["unit"], "custom": {"fillOpacity": 10, "showPoints": "never"}}
    if limits := _limits(panel):
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
        defaults["thresholds"] = {"mode": "absolute", "steps": limits}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel["title"],
        "description": panel["description"],
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _limits(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the limits of a panel's alerts as Grafana's thresholds: colors from a value upwards."""
    above, below = "transparent", _RED
    for alert in panel.get("alert", []):
        relation, value = alert["limit"].split()
        colors = (above, below) if relation == ">" else (below, above)
        return [{"color": colors[0], "value": None}, {"color": colors[1], "value": float(value)}]
    return []


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is stale")
    is_check = parser.parse_args().check
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if is_check and stale:
        print(f"stale: {', '.join(path.name for path in stale)}; run 'make monitoring'", file=sys.stderr)
    for path in [] if is_check else stale:
        path.write_text(generated()[path])
    return int(is_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
