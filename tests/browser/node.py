"""The page's dependencies, installed from its lock once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "client" / "web"


def install_modules() -> Path:
    """Install what is missing or outdated; skips the test where there is no Node.js."""
    if shutil.which("npm") is None:
        pytest.skip("there is no Node.js")
    subprocess.run(
        ["make", "--silent", "client/web/node_modules/.package-lock.json"], cwd=ROOT, check=True, timeout=110
    )
    return WEB / "node_modules"
