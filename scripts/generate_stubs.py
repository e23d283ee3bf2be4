# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "grpcio-tools==1.75.1",
#   "mypy-protobuf==3.7.0",
#   "protobuf==6.31.1",
#   "setuptools<81",
# ]
# ///
"""Rewrite the generated files of `clipstyler/v1` from `proto/`: stubs and `contract.binpb`, the descriptor set.

The pinned versions are not newer than the oldest that the package supports: generated code runs with the version
that it was generated with and with newer ones, not with older ones.

    uv run --script scripts/generate_stubs.py           # rewrite
    uv run --script scripts/generate_stubs.py --check   # exit with 1 if a file is stale
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto"
PACKAGE = Path("clipstyler/v1")
DESCRIPTOR_SET = PACKAGE / "contract.binpb"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", DESCRIPTOR_SET.name)

Files = dict[str, bytes]


def protoc(*arguments: str) -> None:
    """Run protoc; its well-known types come with grpcio-tools."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    finished = subprocess.run(command, cwd=PROTO, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        sys.exit(f"protoc failed:\n{finished.stderr}")


def generate(target: Path) -> None:
    """Generate everything below `target`."""
    sources = {path.relative_to(PROTO).as_posix(): path.read_text() for path in sorted(PROTO.rglob("*.proto"))}
    services = [name for name, text in sources.items() if "\nservice " in text]
    (target / PACKAGE).mkdir(parents=True)
    protoc("-I.", f"--python_out={target}", f"--mypy_out={target}", *sources)
    protoc("-I.", f"--grpc_python_out={target}", f"--mypy_grpc_out={target}", *services)
    # Comments are kept: gateways and explorers show them.
    described = ("--include_imports", "--include_source_info", f"--descriptor_set_out={target / DESCRIPTOR_SET}")
    protoc("-I.", *described, *sources)


def generated_files(root: Path) -> Files:
    """Return the generated files below `root` by name; hand-written modules are left out."""
    return {path.name: path.read_bytes() for pattern in GENERATED for path in (root / PACKAGE).glob(pattern)}


def check(fresh: Files, committed: Files) -> None:
    """Exit with 1 and name the stale files if the committed files differ from fresh ones."""
    stale = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    if stale:
        sys.exit(f"stale in {PACKAGE}: {', '.join(stale)}; run 'make proto'")


def rewrite(fresh: Files, committed: Files) -> None:
    """Replace the committed files."""
    for name in committed.keys() - fresh.keys():
        (ROOT / PACKAGE / name).unlink()
    for name, content in fresh.items():
        (ROOT / PACKAGE / name).write_bytes(content)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Rewrite the generated files of clipstyler/v1 from proto/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is stale")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = generated_files(Path(scratch))
    (check if arguments.check else rewrite)(fresh, generated_files(ROOT))


if __name__ == "__main__":
    main()
