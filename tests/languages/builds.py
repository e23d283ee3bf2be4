"""Builds the clients of other languages, each with its own tools and the user's own caches of packages."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from tests.contract.toolchains import MAVEN_DEPENDENCY_PLUGIN, ROOT, require, run

NODE, GO, JAVA = (ROOT / "client" / name for name in ("node", "go", "java"))
TARGET = "127.0.0.1:50051"
"""The address of the server in all documents."""


@functools.cache
def node() -> Path:
    """Install the development tools of the client for Node.js; returns its folder."""
    require("Node", "node", "npm")
    digest = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()
    installed = NODE / "node_modules" / ".installed"
    if not installed.exists() or installed.read_text() != digest:
        run("npm", "ci", "--prefer-offline", "--loglevel=error", cwd=NODE)
        installed.write_text(digest)
    return NODE


@functools.cache
def node_archive(folder: Path) -> Path:
    """Return the archive of the npm package that would be published."""
    run("npm", "pack", "--loglevel=error", "--pack-destination", folder, cwd=node())
    (archive,) = folder.glob("*.tgz")
    return archive


@functools.cache
def go() -> Path:
    """Return the folder of the client for Go."""
    require("Go", "go")
    return GO


@functools.cache
def java_classpath() -> str:
    """Build the client for Java without running its tests; returns the class path of client, tests and dependencies."""
    require("Java", "java", "javac", "mvn")
    listed = JAVA / "target" / "classpath"
    list_dependencies = f"org.apache.maven.plugins:maven-dependency-plugin:{MAVEN_DEPENDENCY_PLUGIN}:build-classpath"
    run("mvn", "-B", "-q", "test-compile", list_dependencies, f"-Dmdep.outputFile={listed}", cwd=JAVA)
    built = (JAVA / "target" / "classes", JAVA / "target" / "test-classes")
    return os.pathsep.join([*map(str, built), listed.read_text()])
