"""`proto/` is all that a stranger needs: code for every language is generated from a copy of that folder alone."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.contract.toolchains import (
    GO_MODULES,
    ROOT,
    go_bin,
    go_environment,
    java_folder,
    node_modules,
    python_bin,
    run,
)

# On first use the toolchains are downloaded, and Go compiles grpc.
pytestmark = pytest.mark.timeout(600)

SERVICES = ["EncoderService", "ServerService", "StyleService", "StylizationService"]
BUF = Path(sys.executable).with_name("buf")

IMPORT_EVERYTHING = """
import importlib, pathlib, sys
generated, repository = sys.argv[1:]
sys.path = [generated, *(entry for entry in sys.path if pathlib.Path(entry).resolve() != pathlib.Path(repository))]
for path in sorted(pathlib.Path(generated).rglob("*.py")):
    name = ".".join(path.relative_to(generated).with_suffix("").parts)
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__) == path, module.__file__
    print(name, *vars(module))
"""

LOAD_EVERYTHING = """
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const [folder, ...files] = process.argv.slice(1);
const { v1 } = grpc.loadPackageDefinition(loader.loadSync(files, { includeDirs: [folder] })).clipstyler;
const services = Object.entries(v1).filter(([, value]) => value.service);
console.log(JSON.stringify(Object.fromEntries(services.map(([name, value]) => [name, Object.keys(value.service)]))));
"""


@pytest.fixture
def proto(tmp_path: Path) -> Path:
    """Return a copy of proto/ in an otherwise empty folder."""
    return shutil.copytree(ROOT / "proto", tmp_path / "proto")


def sources(proto: Path) -> list[str]:
    return sorted(path.relative_to(proto).as_posix() for path in proto.rglob("*.proto"))


def generate(proto: Path, language: str, path: Path) -> Path:
    """Run `buf generate` with the plugins that buf.gen.yaml lists for a language; return the output folder."""
    template = yaml.safe_load((proto / "buf.gen.yaml").read_text())
    template["plugins"] = [plugin for plugin in template["plugins"] if plugin["out"] == f"gen/{language}"]
    assert template["plugins"], f"buf.gen.yaml has no plugins for {language}"
    run(BUF, "generate", "--template", json.dumps(template), cwd=proto, path=path)
    return proto / "gen" / language


def import_everything(generated: Path) -> str:
    """Import every generated Python module without this repository on the path; return what they define."""
    return run(sys.executable, "-c", IMPORT_EVERYTHING, generated, ROOT, cwd=generated)


def test_the_folder_has_nothing_but_the_contract() -> None:
    names = {path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto").rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("clipstyler/v1/")} == {
        "buf.yaml",
        "buf.gen.yaml",
        "baseline.binpb",
    }
    assert {Path(name).suffix for name in names if name.startswith("clipstyler/v1/")} == {".proto"}


def test_every_plugin_runs_locally(proto: Path) -> None:
    template = yaml.safe_load((proto / "buf.gen.yaml").read_text())
    assert all("protoc_builtin" in plugin or "local" in plugin for plugin in template["plugins"])
    assert {plugin["out"] for plugin in template["plugins"]} == {
        "gen/python",
        "gen/go",
        "gen/typescript",
        "gen/java",
    }


def test_protoc_generates_python(proto: Path, tmp_path: Path) -> None:
    protoc, out = python_bin(tmp_path / "bin"), tmp_path / "out"
    out.mkdir()
    outputs = [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
    run("protoc", "-I", proto, *outputs, *sources(proto), cwd=proto, path=protoc)
    defined = import_everything(out).split()
    assert {f"{service}Stub" for service in SERVICES} <= set(defined)


def test_buf_generates_python(proto: Path, tmp_path: Path) -> None:
    generated = generate(proto, "python", python_bin(tmp_path / "bin"))
    assert "StylizationSpec" in import_everything(generated).split()
    assert len(list(generated.rglob("*.pyi"))) == len(sources(proto))


def test_buf_generates_go_that_builds(proto: Path) -> None:
    plugins = go_bin()
    generated = generate(proto, "go", plugins)
    requirements = "".join(f"\t{module} {version}\n" for module, version in GO_MODULES.items())
    (generated / "go.mod").write_text(f"module clipstyler.dev/generated\n\ngo 1.24\n\nrequire (\n{requirements})\n")
    assert {f"{name}_service_grpc.pb.go" for name in ("encoder", "server", "stylization")} <= {
        file.name for file in generated.rglob("*.go")
    }
    run("go", "vet", "-mod=mod", "./...", cwd=generated, **go_environment())


def test_buf_generates_typescript_that_compiles(proto: Path) -> None:
    modules = node_modules()
    generated = generate(proto, "typescript", modules / ".bin")
    (generated / "node_modules").symlink_to(modules)
    (generated / "package.json").write_text(json.dumps({"type": "module"}))
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "preserve", "--skipLibCheck"]
    files = sorted(generated.glob("clipstyler/**/*.ts"))
    assert len(files) == len(sources(proto))
    run("tsc", *options, *files, cwd=generated, path=modules / ".bin")


def test_buf_generates_java_that_compiles(proto: Path, tmp_path: Path) -> None:
    java = java_folder()
    generated = generate(proto, "java", java / "bin")
    files = sorted(generated.rglob("*.java"))
    assert {f"{service}Grpc.java" for service in SERVICES} <= {file.name for file in files}
    run("javac", "-proc:none", "-nowarn", "-d", tmp_path / "classes", "-cp", java / "lib" / "*", *files, cwd=generated)


def test_proto_loader_loads_the_contract(proto: Path) -> None:
    modules = node_modules()
    loaded = json.loads(run("node", "-e", LOAD_EVERYTHING, proto, *sources(proto), cwd=proto, NODE_PATH=modules))
    assert sorted(loaded) == SERVICES
    assert "Stylize" in loaded["StylizationService"]
