"""The documents name every setting, flag, metric, log event and error reason that exists, and no other."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from clipstyler_cli.main import app
from clipstyler_server.errors import Reason
from clipstyler_server.settings import Settings

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "clipstyler_server"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
# Decisions and the changelog name what is no more.
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    )
    if page.exists()
]
# Of the command, the clients and the build of the live page.
OTHER_VARIABLES = {"CONFIG", "TOKEN", "GATEWAY"}
PROGRAM = "clipstyler"
PACKAGES = {"server", "client", "cli", "lab"}
LEVELS = {"debug", "info", "warning", "error", "exception", "log"}


def section(page: str, title: str) -> str:
    """The text under a heading of the second level."""
    return re.split(r"^## ", page, flags=re.MULTILINE)[1:][titles(page).index(title)]


def titles(page: str) -> list[str]:
    return re.findall(r"^## (.*)$", page, flags=re.MULTILINE)


def first_cells(table: str) -> set[str]:
    """Every `name` in the first column of the tables of a text."""
    rows = re.findall(r"^\| (.*?) \|", table, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of all metrics of a server with every switch on, as Prometheus shows them."""
    folder = tmp_path_factory.mktemp("metrics")
    code = (
        "from clipstyler_server.app import App\nfrom clipstyler_server.settings import Settings\nimport asyncio, sys\n"
        "async def main():\n"
        "    app = App(Settings(data_dir=sys.argv[1], metrics_tenants=True))\n"
        "    for family in app.metrics.registry.collect():\n"
        "        suffix = {'counter': '_total', 'info': '_info'}.get(family.type, '')\n"
        "        print(family.name + suffix)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_that_pages_name_are_settings(page: Path) -> None:
    named = set(re.findall(r"CLIPSTYLER_([A-Z_]*[A-Z])", page.read_text()))
    assert named - {name.upper() for name in Settings.model_fields} - OTHER_VARIABLES == set()


def test_the_table_of_settings_has_no_other() -> None:
    listed = first_cells(section(OPERATIONS, "Settings"))
    assert listed == {f"CLIPSTYLER_{name.upper()}" for name in Settings.model_fields}


def test_the_table_of_metrics_is_complete_and_true(families: set[str]) -> None:
    assert first_cells(section(OPERATIONS, "Metrics")) == families


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_metrics_that_pages_name_exist(page: Path, families: set[str]) -> None:
    named = set(re.findall(r"\b(?:clipstyler|grpc_server)_[a-z_]+[a-z]\b(?!\.)", page.read_text()))
    parts = {f"{family}{suffix}" for family in families for suffix in ("_bucket", "_count", "_sum")}
    prefixes = {"clipstyler_tenant"}
    assert named - families - parts - prefixes - {f"clipstyler_{name}" for name in PACKAGES} == set()


def logged_events() -> set[str]:
    """Names of the events that the server's code logs."""
    return {event for path in SERVER.rglob("*.py") for event in _events(ast.parse(path.read_text()))}


def _events(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_log(node.func):
            names = [
                value.value for value in node.args if isinstance(value, ast.Constant) and isinstance(value.value, str)
            ]
            assert names, f"an event without a constant name in line {node.lineno}"
            yield names[0]


def _is_log(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id == "log"
    return (
        isinstance(called, ast.Attribute)
        and called.attr in LEVELS
        and isinstance(called.value, ast.Call)
        and "get_logger" in ast.unparse(called.value.func)
    )


def test_the_table_of_log_events_is_complete_and_true() -> None:
    assert first_cells(section(OPERATIONS, "Logs")) == logged_events()


def test_the_table_of_errors_is_complete_and_true() -> None:
    rows = re.findall(
        r"^\| `[A-Z_]+` \| (.*?) \|", section((ROOT / "docs" / "contract.md").read_text(), "Errors"), re.MULTILINE
    )
    listed = [reason for row in rows for reason in re.findall(r"`([A-Z_]+)`", row)]
    assert set(listed) == {reason.value for reason in Reason}
    assert len(set(listed)) == len(listed)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


FLAGS = {
    path: {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    for path, command in commands(typer.main.get_command(app))
}


def shown_commands(page: Path) -> Iterator[list[str]]:
    """Every call of the command that a page shows, as words."""
    blocks = re.findall(r"```(?:sh|bash|console)?\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`\n]+)`", page.read_text())
    for line in (*lines, *inline):
        found = re.search(rf"(?:^|[ /]){PROGRAM} ([a-z].*)$", line)
        if found:
            yield shlex.split(re.split(r"[|;&#]", found[1])[0].replace("'", "").replace('"', ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_show_have_these_flags(page: Path) -> None:
    wrong = []
    for words in shown_commands(page):
        path = tuple(words[: 1 if (words[0],) in FLAGS else 2])
        if path in FLAGS:
            flags = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z-]+(=.*)?", word)}
            wrong += [(path, flag) for flag in flags - FLAGS[path]]
    assert wrong == []


def test_the_page_of_the_command_is_fresh() -> None:
    script = ROOT / "scripts" / "command_reference.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
