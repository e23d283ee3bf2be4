"""Compilers and code generators of other languages, at pinned versions, from their package registries into .cache."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "contract"

GO_TOOLS = {
    "google.golang.org/protobuf/cmd/protoc-gen-go": "v1.36.12",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc": "v1.6.2",
}
GO_MODULES = {"google.golang.org/grpc": "v1.85.0", "google.golang.org/protobuf": "v1.36.12"}
NODE_PACKAGES = {
    "@bufbuild/protobuf": "2.17.0",
    "@bufbuild/protoc-gen-es": "2.17.0",
    "@grpc/grpc-js": "1.14.7",
    "@grpc/proto-loader": "0.8.1",
    "typescript": "5.9.3",
}
GRPC_JAVA = "1.81.0"
PROTOBUF_JAVA = "4.36.2"
MAVEN_DEPENDENCY_PLUGIN = "3.8.1"


def require(language: str, *commands: str) -> None:
    """Skip the test if a command that installing a toolchain takes is missing."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        pytest.skip(f"{language} toolchain missing: {', '.join(missing)} not on PATH")


def run(*command: str | Path, cwd: Path, path: Path | None = None, **environment: str | Path) -> str:
    """Run a command and return its output; a failure fails the test with what the command printed."""
    env = os.environ | {name: str(value) for name, value in environment.items()}
    if path is not None:
        env["PATH"] = f"{path}{os.pathsep}{env['PATH']}"
    program = shutil.which(str(command[0]), path=env["PATH"]) or str(command[0])
    finished = subprocess.run(
        [program, *map(str, command[1:])], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, f"{' '.join(map(str, command))}\n{finished.stdout}{finished.stderr}"
    return finished.stdout


def python_bin(folder: Path) -> Path:
    """Return a folder with a `protoc` that is the one of grpcio-tools."""
    folder.mkdir()
    protoc = folder / "protoc"
    protoc.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o755)
    return folder


def go_environment() -> dict[str, Path | str]:
    """Return the environment in which go keeps to .cache and leaves nothing read-only behind."""
    flags = f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip()
    return {"GOMODCACHE": CACHE / "go" / "modules", "GOCACHE": CACHE / "go" / "build", "GOFLAGS": flags}


def go_bin() -> Path:
    """Return a folder with the plugins for Go, installing them on first use."""
    require("Go", "go")
    folder = CACHE / "go" / f"bin-{_digest(GO_TOOLS)}"
    for package, version in GO_TOOLS.items():
        if not (folder / package.rpartition("/")[2]).exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            run("go", "install", f"{package}@{version}", cwd=CACHE, GOBIN=folder, **go_environment())
    return folder


def node_modules() -> Path:
    """Return a node_modules folder with `NODE_PACKAGES`, installing them on first use."""
    require("Node", "node", "npm")
    folder = CACHE / f"node-{_digest(NODE_PACKAGES)}"
    installed = folder / "installed"
    if not installed.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": NODE_PACKAGES}))
        run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", cwd=folder)
        installed.touch()
    return folder / "node_modules"


def java_folder() -> Path:
    """Return a folder with protoc and its plugin in `bin` and jars in `lib`, downloading them on first use."""
    require("Java", "javac", "mvn")
    pom = _pom()
    folder = CACHE / f"java-{_digest(pom)}"
    installed = folder / "installed"
    if not installed.exists():
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "pom.xml").write_text(pom)
        copy = f"org.apache.maven.plugins:maven-dependency-plugin:{MAVEN_DEPENDENCY_PLUGIN}:copy-dependencies"
        repository = f"-Dmaven.repo.local={CACHE / 'maven'}"
        run("mvn", "--batch-mode", "--quiet", repository, copy, "-DoutputDirectory=lib", cwd=folder)
        for program, artifact in (("protoc", "protoc-[0-9]*.exe"), ("protoc-gen-grpc-java", "protoc-gen-grpc-*.exe")):
            (executable,) = (folder / "lib").glob(artifact)
            executable.rename(folder / "bin" / program).chmod(0o755)
        installed.touch()
    return folder


def _pom() -> str:
    executable = f"<type>exe</type><classifier>{_maven_platform()}</classifier>"
    dependencies = [
        ("com.google.protobuf", "protobuf-java", PROTOBUF_JAVA, ""),
        ("com.google.protobuf", "protoc", PROTOBUF_JAVA, executable),
        ("io.grpc", "grpc-protobuf", GRPC_JAVA, ""),
        ("io.grpc", "grpc-stub", GRPC_JAVA, ""),
        ("io.grpc", "protoc-gen-grpc-java", GRPC_JAVA, executable),
    ]
    listed = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        f"{kind}</dependency>"
        for group, artifact, version, kind in dependencies
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion>"
        "<groupId>dev.clipstyler</groupId><artifactId>contract-test</artifactId><version>1</version>"
        f"<dependencies>{listed}</dependencies></project>"
    )


def _maven_platform() -> str:
    system = {"Darwin": "osx", "Windows": "windows"}.get(platform.system(), "linux")
    machine = {"arm64": "aarch_64", "aarch64": "aarch_64"}.get(platform.machine(), "x86_64")
    return f"{system}-{machine}"


def _digest(pinned: object) -> str:
    return hashlib.sha256(repr(pinned).encode()).hexdigest()[:12]
