"""The Dockerfile and the Compose file as far as they can be checked without Docker."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from clipstyler_cli.main import app
from clipstyler_server.settings import Settings
from typer.testing import CliRunner

from tests.service.prometheus import program

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
COMPOSE = ROOT / "deploy" / "compose"
BIN = Path(sys.executable).parent
# Of clients.
OTHER_NAMES = {"CLIPSTYLER_TLS_CA"}


def dockerfile() -> str:
    return DOCKERFILE.read_text()


def context() -> list[Path]:
    """The committed files that .dockerignore lets through: it excludes everything, then names what is needed."""
    names = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    return [Path(path) for path in tracked if any(path == name or path.startswith(f"{name}/") for name in names)]


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    return found


def parses(arguments: list[str]) -> None:
    """Fail if `clipstyler` does not have this command with these flags; it is not run."""
    group = typer.main.get_command(app)
    name, *flags = arguments
    group.commands[name].make_context(name, flags)


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    finished = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout


def test_everything_that_is_copied_is_in_the_build_context() -> None:
    lines = re.findall(r"^COPY ([^-].*)$", dockerfile(), re.MULTILINE)
    sources = [source for line in lines for source in line.split()[:-1]]
    assert len(sources) > 8
    files = context()
    for source in sources:
        assert any(path == Path(source) or Path(source) in path.parents for path in files), source


def test_the_build_context_has_no_more_than_a_wheel_and_its_locks_need() -> None:
    tops = {path.parts[0] for path in context()}
    assert tops == {
        "LICENSE", "README.md", "clipstyler", "client", "deploy", "examples", "lab", "pyproject.toml", "requirements",
        "server",
    }  # fmt: skip


def test_every_stage_that_is_shipped_has_no_root_and_reports_its_health() -> None:
    stages = re.split(r"^FROM ", dockerfile(), flags=re.MULTILINE)[1:]
    named = {stage.split("\n")[0].split(" AS ")[1]: stage for stage in stages}
    assert {"cpu", "cuda", "server", "gateway"} <= set(named)
    assert "USER 10001:10001" in named["base"]
    assert dockerfile().count("\nUSER ") == 1
    for name in ("server", "gateway"):
        assert named[name].startswith("base AS ")
        assert "HEALTHCHECK" in named[name]
    assert named["cpu"].startswith("server AS ")
    assert named["cuda"].startswith("server AS ")


@pytest.mark.parametrize("arguments", re.findall(r"CMD (\[.+\])$", DOCKERFILE.read_text(), re.MULTILINE))
def test_the_commands_of_the_images_exist(arguments: str) -> None:
    command = json.loads(arguments)
    parses(command[1:] if command[0] == "clipstyler" else command)


def test_the_settings_of_the_images_and_of_compose_exist() -> None:
    texts = [dockerfile(), *(path.read_text() for path in COMPOSE.glob("*.yaml"))]
    names = {name for text in texts for name in re.findall(r"CLIPSTYLER_[A-Z_]+", text)} - OTHER_NAMES
    assert len(names) > 8
    assert {name.removeprefix("CLIPSTYLER_").lower() for name in names} <= set(Settings.model_fields)


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml", "compose.shared.yaml"])
def test_the_compose_file_follows_its_schema(name: str) -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE / name]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout


def test_the_compose_file_builds_targets_that_exist_and_mounts_files_that_exist() -> None:
    for name, service in services().items():
        if "build" in service:
            target = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", service["build"]["target"])
            assert f" AS {target}\n" in dockerfile(), name
            assert (COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (COMPOSE / source).exists(), source


def test_compose_publishes_on_loopback_only_and_keeps_containers_from_writing() -> None:
    for name, service in services().items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") is (None if name == "postgres" else True), name
    assert "ports" not in services()["server"]


def test_the_server_trusts_the_address_of_the_gateway() -> None:
    address = services()["gateway"]["networks"]["inside"]["ipv4_address"]
    assert services()["server"]["environment"]["CLIPSTYLER_TRUSTED_PROXIES"] == address
    parses(services()["gateway"]["command"])


def test_the_gateway_of_compose_starts(tmp_path: Path) -> None:
    written = CliRunner().invoke(app, [*services()["gateway"]["command"], "--write", str(tmp_path)])
    assert written.exit_code == 0, written.output


def test_passwords_are_chosen_by_the_operator() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    given = dict(line.split("=") for line in (COMPOSE / "example.env").read_text().splitlines() if line[0] != "#")
    assert (given["POSTGRES_PASSWORD"], given["GRAFANA_PASSWORD"]) == ("", "")
    ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/compose/.env"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_prometheus_reads_every_server() -> None:
    shared = yaml.safe_load((COMPOSE / "compose.shared.yaml").read_text())["services"]
    for found in (services(), services() | shared):
        source = next(volume for volume in found["prometheus"]["volumes"] if "/prometheus.yml:" in volume)
        (job,) = yaml.safe_load((COMPOSE / source.split(":")[0]).read_text())["scrape_configs"]
        servers = [f"{name}:{Settings().http_port}" for name in found if name.startswith("server")]
        assert job["static_configs"] == [{"targets": servers}]


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    for volume in services()["prometheus"]["volumes"][:2]:
        source, target, _ = volume.split(":")
        shutil.copy(COMPOSE / source, tmp_path / Path(target).name)
    command = [program("promtool"), "check", "config", tmp_path / "prometheus.yml"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "rules found" in finished.stdout
