"""Generated code is what the contract generates today, importable by the names in it, and names no registry."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.contract.toolchains import ROOT, go_bin, run
from tests.languages.builds import GO, NODE, go, node

pytestmark = pytest.mark.timeout(600)

BUF = Path(sys.executable).with_name("buf")


def differences(one: Path, other: Path) -> list[str]:
    """Names of files below two folders that differ or are in one only."""
    names = {path.relative_to(root) for root in (one, other) for path in root.rglob("*") if path.is_file()}
    _, different, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    return sorted(map(str, [*different, *missing]))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Return a copy of what `buf generate` reads, at the same relative places."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    return tmp_path


def test_the_code_of_the_node_client_is_fresh(scratch: Path) -> None:
    client = scratch / "client" / "node"
    shutil.copytree(NODE / "proto", client / "proto")
    shutil.copy(NODE / "buf.gen.yaml", client)
    (client / "node_modules").symlink_to(node() / "node_modules")
    run(BUF, "generate", cwd=client)
    assert differences(client / "src" / "gen", NODE / "src" / "gen") == []


def test_the_code_of_the_go_client_is_fresh(scratch: Path) -> None:
    client = scratch / "client" / "go"
    client.mkdir(parents=True)
    shutil.copy(go() / "buf.gen.yaml", client)
    run(BUF, "generate", cwd=client, path=go_bin())
    assert differences(client / "clipstylerv1", GO / "clipstylerv1") == []


def test_go_package_names_a_folder_of_the_module() -> None:
    (module,) = re.findall(r"^module (\S+)", (GO / "go.mod").read_text(), re.MULTILINE)
    assert module.endswith(GO.relative_to(ROOT).as_posix())  # so that a tag of this repository can publish it
    for proto in (ROOT / "proto").rglob("*.proto"):
        (path, name) = re.findall(r'go_package = "(.+);(\w+)"', proto.read_text())[0]
        assert (GO / path.removeprefix(f"{module}/")).is_dir(), proto
        assert path == f"{module}/{name}"


def test_nothing_names_a_registry() -> None:
    lock = (NODE / "package-lock.json").read_text()
    assert [name for name, package in json.loads(lock)["packages"].items() if "resolved" in package] == []
    files = [
        NODE / "package-lock.json",
        NODE / "package.json",
        GO / "go.mod",
        GO / "go.sum",
        ROOT / "client/java/pom.xml",
    ]
    archive = re.compile(r"https?://\S+\.(tgz|zip|jar)|<repository>|\"registry\"")
    assert [path.name for path in files if archive.search(path.read_text())] == []
