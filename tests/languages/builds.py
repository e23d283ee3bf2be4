"""Builds the clients of other languages, each with its own tools and the user's own caches of packages."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from pathlib import Path

from tests.contract.toolchains import ROOT, require, run

NODE, GO, JAVA = (ROOT / "client" / name for name in ("node", "go", "java"))
JAVA_BUILD = ("mvn", "-q", "package", "dependency:copy-dependencies", "-DskipTests")
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
def node_installation() -> Path:
    """Return a fresh folder in which the npm package that would be published is installed, and nothing else."""
    folder = NODE / "build" / "installation"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run("npm", "pack", "--loglevel=error", "--pack-destination", folder, cwd=node())
    (folder / "package.json").write_text('{"private": true}')
    (archive,) = folder.glob("*.tgz")
    run("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", archive, cwd=folder)
    return folder


@functools.cache
def go() -> Path:
    """Return the folder of the client for Go."""
    require("Go", "go")
    return GO


@functools.cache
def java_classpath() -> str:
    """Build the client for Java without running its tests; returns the class path of client, tests and dependencies."""
    require("Java", "java", "javac", "mvn")
    run(*JAVA_BUILD, cwd=JAVA)
    return os.pathsep.join(str(JAVA / "target" / name) for name in ("classes", "test-classes", "dependency/*"))
