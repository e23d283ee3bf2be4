"""Runs the code of documents: each block is a program, or the body of one, in a fresh folder beside a photo."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests.contract.toolchains import run
from tests.languages.builds import TARGET, go, java_classpath, node_installation

GO_PACKAGES = {
    "clipstyler": '"clipstyler.dev/client/go/clipstyler"',
    "pb": 'pb "clipstyler.dev/client/go/clipstylerv1"',
    "context": '"context"',
    "durationpb": '"google.golang.org/protobuf/types/known/durationpb"',
    "errors": '"errors"',
    "fmt": '"fmt"',
    "log": '"log"',
    "os": '"os"',
    "proto": '"google.golang.org/protobuf/proto"',
    "time": '"time"',
}
JAVA_PROGRAM = """
import com.google.protobuf.ByteString;
import dev.clipstyler.client.*;
import dev.clipstyler.v1.*;
import java.nio.file.*;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

public class Snippet {{
  public static void main(String[] arguments) throws Exception {{
{body}
  }}
}}
"""

Run = Callable[[str, Path], str]


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def run_python(code: str, folder: Path) -> str:
    """Run a Python program."""
    return run(sys.executable, "-c", code, cwd=folder)


def run_node(code: str, folder: Path) -> str:
    """Run a program in a folder where the package is installed from its archive."""
    (folder / "node_modules").symlink_to(node_installation() / "node_modules")
    (folder / "snippet.mjs").write_text(code)
    return run("node", "snippet.mjs", cwd=folder)


def run_go(code: str, folder: Path) -> str:
    """Run a program, or the body of one, in a module that takes the client from this repository."""
    (folder / "main.go").write_text(code if code.startswith("package") else _go_program(code))
    run("go", "mod", "init", "example.com/snippet", cwd=folder)
    run("go", "mod", "edit", f"-replace=clipstyler.dev/client/go={go()}", cwd=folder)
    # The versions that the client was built with, so that no newer ones are looked for.
    (folder / "go.sum").write_bytes((go() / "go.sum").read_bytes())
    run("go", "mod", "tidy", cwd=folder)
    return run("go", "run", ".", cwd=folder)


def _go_program(body: str) -> str:
    imports = [path for name, path in GO_PACKAGES.items() if re.search(rf"(?<![\w.]){name}\.", body)]
    return "package main\n\nimport (\n" + "\n".join(imports) + f"\n)\n\nfunc main() {{\n{body}}}\n"


def run_java(code: str, folder: Path) -> str:
    """Run a program, or the body of one, on the class path of the client."""
    program = code if "public class" in code else JAVA_PROGRAM.format(body=code)
    (name,) = re.findall(r"public class (\w+)", program)
    (folder / f"{name}.java").write_text(program)
    return run("java", "-XX:TieredStopAtLevel=1", "-cp", java_classpath(), f"{name}.java", cwd=folder)


RUN: dict[str, Run] = {"python": run_python, "js": run_node, "go": run_go, "java": run_java}


def addressed(code: str, target: str) -> str:
    """Point the code at a test's server."""
    assert TARGET in code
    return code.replace(TARGET, target)
